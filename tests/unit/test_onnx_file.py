"""Reading ONNX files agrees with the `onnx` package, and what is no whole model is said in one sentence."""

import numpy as np
import onnx
import onnx_files
import pytest
from likeness.core.weights import WeightsError
from likeness.core.weights.onnx_file import parse_onnx, read_onnx
from likeness.core.weights.protobuf import packed_integers
from onnx import TensorProto, helper, numpy_helper

KINDS = ("r50", "mbf", "scrfd_500m", "scrfd_2.5g", "2d106det", "1k3d68", "genderage")


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_the_onnx_package_reads(kind):
    path = onnx_files.file(kind, width=4)
    ours, theirs = read_onnx(path), onnx.load(path)
    weights = {value.name: numpy_helper.to_array(value) for value in theirs.graph.initializer}
    assert set(weights) <= set(ours.tensors)
    for name, value in weights.items():
        assert ours.tensors[name].dtype == value.dtype and np.array_equal(ours.tensors[name], value), name
    assert [node.op for node in ours.nodes] == [node.op_type for node in theirs.graph.node]
    assert [node.inputs for node in ours.nodes] == [tuple(node.input) for node in theirs.graph.node]
    assert [node.outputs for node in ours.nodes] == [tuple(node.output) for node in theirs.graph.node]
    assert ours.outputs == tuple(value.name for value in theirs.graph.output)
    assert list(ours.inputs) == [value.name for value in theirs.graph.input if value.name not in weights]
    assert ours.opset == theirs.opset_import[0].version
    for node, other in zip(ours.nodes, theirs.graph.node, strict=True):
        for attribute in other.attribute:
            value, expected = node.attributes[attribute.name], helper.get_attribute_value(attribute)
            if attribute.type == onnx.AttributeProto.TENSOR:
                assert np.array_equal(ours.tensors[value["tensor"]], numpy_helper.to_array(expected))
            else:
                assert value == (expected.decode() if isinstance(expected, bytes) else expected)


TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32,
         TensorProto.INT8, TensorProto.UINT8, TensorProto.BOOL)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("raw", [True, False])
def test_reads_numbers_of_every_type_raw_and_typed(kind, raw):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    values = np.array([[0, 1, 2], [3, 100, 127]]).astype(dtype)
    if np.issubdtype(dtype, np.signedinteger) or np.issubdtype(dtype, np.floating):
        values = values * np.array(-1, dtype)
    tensor = helper.make_tensor("w", kind, values.shape, values.tobytes() if raw else values.flatten(), raw=raw)
    model = of_nodes([helper.make_node("Identity", ["x"], ["y"])], weights=[tensor])
    read = parse_onnx(memoryview(model.SerializeToString()), "w.onnx").tensors["w"]
    assert read.dtype == values.dtype and np.array_equal(read, values)


def test_packed_integers_are_varints():
    numbers = [0, 1, 127, 128, 300, 2**31, 2**62, -1, -(2**63)]
    tensor = helper.make_tensor("w", TensorProto.INT64, [len(numbers)], numbers)
    assert parse_onnx(memoryview(of_nodes([helper.make_node("Identity", ["x"], ["y"])], weights=[tensor])
                                 .SerializeToString()), "w").tensors["w"].tolist() == numbers  # fmt: skip
    assert packed_integers(memoryview(b"")).tolist() == []


def of_nodes(nodes, weights=(), shape=(1, 3, 8, 8)):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "g", [value], [result], list(weights)),
                             opset_imports=[helper.make_opsetid("", 13)])  # fmt: skip


def test_says_what_is_wrong_with_a_file(tmp_path):
    whole = onnx_files.file("genderage", width=4).read_bytes()
    for name, content, expected in (
        ("empty.onnx", b"", "is empty"),
        ("cut.onnx", whole[: len(whole) // 2], "is no whole ONNX model"),
        ("page.onnx", b"<html>not found</html>", "is a web page"),
        ("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "is a Git LFS pointer"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"^{name} .*{expected}.*[^.]\\.$") as caught:
            read_onnx(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match=r"^gone\.onnx can't be opened"):
        read_onnx(tmp_path / "gone.onnx")


def test_weights_in_a_second_file_are_refused(tmp_path):
    model = onnx.load(onnx_files.file("genderage", width=4))
    onnx.save_model(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=0)
    with pytest.raises(WeightsError, match=r"a\.onnx keeps its weights in a second file"):
        read_onnx(tmp_path / "a.onnx")


def test_number_types_without_a_torch_counterpart_are_refused():
    tensor = helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])
    model = of_nodes([helper.make_node("Identity", ["x"], ["y"])], weights=[tensor])
    with pytest.raises(WeightsError, match=r"w\.onnx holds weights of a number type .*ONNX type 8"):
        parse_onnx(memoryview(model.SerializeToString()), "w.onnx")
