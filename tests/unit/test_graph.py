"""Graphs in torch agree with onnxruntime, node by node and whole; what is not known is said, never approximated."""

import numpy as np
import onnx
import onnx_files
import onnxruntime
import pytest
import torch
from likeness.core.graph import UnknownGraph, build
from likeness.core.graph.plan import plan
from likeness.core.weights import WeightsError
from likeness.core.weights.onnx_file import parse_onnx, read_onnx
from onnx import TensorProto, helper, numpy_helper


def model_of(nodes, weights=None, shape=(1, 3, 8, 8), opset=13, outputs=("y",)):
    """Bytes of a model with input x, outputs and nodes given as (op, inputs, outputs, attributes)."""
    made = [helper.make_node(op, inputs.split(" "), results.split(" "), **attributes)
            for op, inputs, results, attributes in nodes]  # fmt: skip
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(
        made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def both(content, x):
    """What onnxruntime and the graph in torch make of a picture."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    found = build(parse_onnx(memoryview(content), "test.onnx"))(x)
    return expected, found if isinstance(found, tuple) else (found,)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def counted(*numbers):
    return np.array(numbers, np.int64)


CONV = noise(4, 3, 3, 3)
CASES = {
    "conv, padding on one side": ([("Conv", "x w b", "y", {"pads": [0, 1, 2, 1], "strides": [2, 1]})],
                                  {"w": CONV, "b": noise(4)}),
    "conv, same upper": ([("Conv", "x w", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})], {"w": CONV}),
    "conv, same lower": ([("Conv", "x w", "y", {"auto_pad": "SAME_LOWER", "strides": [2, 2]})], {"w": CONV}),
    "conv, groups and dilation": ([("Conv", "x w", "y", {"group": 3, "dilations": [2, 2]})], {"w": noise(6, 1, 3, 3)}),
    "conv and batch norm": ([("Conv", "x w", "c", {"pads": [1] * 4}), ("BatchNormalization", "c s b m v", "y", {})],
                            {"w": CONV, "s": noise(4), "b": noise(4), "m": noise(4), "v": noise(4) ** 2}),
    "conv used twice and batch norm": (
        [("Conv", "x w", "c", {}), ("BatchNormalization", "c s b m v", "d", {"epsilon": 0.1}), ("Add", "c d", "y", {})],
        {"w": CONV, "s": noise(4), "b": noise(4), "m": noise(4), "v": noise(4) ** 2}),
    "batch norm alone": ([("BatchNormalization", "x s b m v", "y", {})],
                         {"s": noise(3), "b": noise(3), "m": noise(3), "v": noise(3) ** 2}),
    "prelu per channel": ([("PRelu", "x w", "y", {})], {"w": noise(3, 1, 1)}),
    "prelu, one slope": ([("PRelu", "x w", "y", {})], {"w": noise(1)}),
    "gemm": ([("Flatten", "x", "f", {}), ("Gemm", "f w b", "y", {"alpha": 0.5, "beta": 2.0})],
             {"w": noise(192, 5), "b": noise(5)}),
    "gemm turned and batch norm": (
        [("Flatten", "x", "f", {}), ("Gemm", "f w b", "g", {"transB": 1}),
         ("BatchNormalization", "g s b m v", "y", {})],
        {"w": noise(5, 192), "b": noise(5), "s": noise(5), "m": noise(5), "v": noise(5) ** 2}),
    "matmul with a bias": ([("Flatten", "x", "f", {}), ("MatMul", "f w", "m", {}), ("Add", "m b", "y", {})],
                           {"w": noise(192, 5), "b": noise(5)}),
    "matmul of two pictures": ([("MatMul", "x x", "y", {})], {}),
    "activations": ([("Relu", "x", "a", {}), ("LeakyRelu", "x", "b", {"alpha": 0.2}), ("Sigmoid", "b", "c", {}),
                     ("Clip", "x low high", "d", {}), ("HardSigmoid", "x", "e", {}), ("Elu", "x", "f", {}),
                     ("Sum", "a b c d e f", "y", {})], {"low": np.float32(-0.5), "high": np.float32(0.5)}),
    "softmax of one axis": ([("Softmax", "x", "y", {"axis": 1})], {}),
    "gelu from parts": ([("Div", "x r", "a", {}), ("Erf", "a", "b", {}), ("Add", "b o", "c", {}),
                         ("Mul", "x c", "d", {}), ("Mul", "d h", "y", {})],
                        {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32(0.5)}),
    "layer norm from parts": (
        [("ReduceMean", "x", "m", {"axes": [-1]}), ("Sub", "x m", "d", {}), ("Pow", "d two", "p", {}),
         ("ReduceMean", "p", "v", {"axes": [-1]}), ("Add", "v e", "w", {}), ("Sqrt", "w", "s", {}),
         ("Div", "d s", "n", {}), ("Mul", "n g", "y", {})],
        {"two": np.float32(2), "e": np.float32(1e-5), "g": noise(8)}),
    "max pool, uneven": ([("MaxPool", "x", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})],
                         {}),
    "max pool, ceil": ([("MaxPool", "x", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})], {}),
    "average pool": ([("AveragePool", "x", "y", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1})], {}),
    "average pool with padding": ([("AveragePool", "x", "y", {"kernel_shape": [3, 3], "pads": [1] * 4})], {}),
    "global pools": ([("GlobalAveragePool", "x", "a", {}), ("GlobalMaxPool", "x", "b", {}), ("Concat", "a b", "y",
                                                                                           {"axis": 1})], {}),
    "nearest, doubled": ([("Resize", "x r s", "y", {"mode": "nearest", "nearest_mode": "floor",
                                                    "coordinate_transformation_mode": "asymmetric"})],
                         {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 2])}),
    "nearest, half pixels": ([("Resize", "x r s", "y", {"mode": "nearest"})],
                             {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 3, 3])}),
    "linear to a size": ([("Resize", "x   z", "y", {"mode": "linear",
                                                    "coordinate_transformation_mode": "pytorch_half_pixel"})],
                         {"z": counted(1, 3, 5, 11)}),
    "linear, corners": ([("Resize", "x   z", "y", {"mode": "linear",
                                                   "coordinate_transformation_mode": "align_corners"})],
                        {"z": counted(1, 3, 5, 11)}),
    "size arithmetic": (
        [("Shape", "x", "s", {}), ("Gather", "s zero", "n", {}), ("Unsqueeze", "n axis", "u", {}),
         ("Concat", "u rest", "t", {"axis": 0}), ("Reshape", "x t", "y", {})],
        {"zero": np.int64(0), "axis": counted(0), "rest": counted(-1)}),
    "size from a slice": (
        [("Shape", "x", "s", {}), ("Slice", "s from to", "p", {}), ("Mul", "p two", "q", {}), ("Concat", "nc q", "z",
                                                                                            {"axis": 0}),
         ("Resize", "x   z", "y", {"mode": "nearest", "nearest_mode": "floor",
                                   "coordinate_transformation_mode": "asymmetric"})],
        {"from": counted(2), "to": counted(4), "two": counted(2), "nc": counted(1, 3)}),
    "slices": ([("Slice", "x a b c d", "y", {})],
               {"a": counted(1, -7), "b": counted(2**62, -1), "c": counted(1, 3), "d": counted(1, 2)}),
    "split and pad": ([("Split", "x", "a b", {"axis": 2}), ("Pad", "b p v", "c", {}), ("Concat", "a c", "y",
                                                                                     {"axis": 2})],
                      {"p": counted(0, 0, 1, 0, 0, 0, 2, 0), "v": np.float32(0.5)}),
    "pad by reflection": ([("Pad", "x p", "y", {"mode": "reflect"})], {"p": counted(0, 0, 1, 2, 0, 0, 2, 1)}),
    "transpose, squeeze, expand": ([("Transpose", "x", "t", {"perm": [0, 2, 3, 1]}), ("Unsqueeze", "t a", "u", {}),
                                    ("Expand", "u e", "v", {}), ("Squeeze", "v z", "y", {})],
                                   {"a": counted(1), "e": counted(1, 2, 1, 1, 1), "z": counted(0)}),
    "gather of pixels": ([("Gather", "x i", "y", {"axis": 3})], {"i": counted(0, -1, 2)}),
    "instance norm": ([("InstanceNormalization", "x w b", "y", {"epsilon": 0.01})], {"w": noise(3), "b": noise(3)}),
    "instance norm of one channel": ([("ReduceMean", "x", "m", {"axes": [1]}),
                                      ("InstanceNormalization", "m w b", "y", {})], {"w": noise(1), "b": noise(1)}),
    "reductions": ([("ReduceSum", "x a", "s", {"keepdims": 0}), ("ReduceL2", "s", "l", {"axes": [1], "keepdims": 1}),
                    ("Div", "s l", "y", {})], {"a": counted(2, 3)}),
    "class token": ([("Reshape", "x k", "r", {}), ("Shape", "r", "s", {}),
                     ("Gather", "s zero", "n", {}), ("Unsqueeze", "n zeros", "u", {}),
                     ("Concat", "u o", "e", {"axis": 0}), ("Expand", "token e", "c", {}),
                     ("Concat", "c r", "y", {"axis": 1})],
                    {"k": counted(0, 3, 64), "zero": np.int64(0), "zeros": counted(0), "o": counted(1, 64),
                     "token": noise(1, 1, 64)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operations_agree_with_onnxruntime(name):
    nodes, weights = CASES[name]
    expected, found = both(model_of(nodes, weights), torch.from_numpy(noise(1, 3, 8, 8, seed=7)))
    for ours, theirs in zip(found, expected, strict=True):
        assert tuple(ours.shape) == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-5, rtol=1e-5)


KINDS = ("r50", "r100", "mbf", "scrfd_500m", "scrfd_1g", "scrfd_2.5g", "scrfd_10g", "scrfd_34g", "2d106det", "1k3d68",
         "genderage", "sface")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_agrees_with_onnxruntime(kind):
    path = onnx_files.file(kind, width=4)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    graph = build(read_onnx(path))
    x = torch.from_numpy(noise(*graph.checked_shape, seed=3))
    if kind.startswith("scrfd_"):
        x = onnx_files.letterboxed("t1")[0]  # something to find
    if kind == "scrfd_34g":
        x = x[..., ::2, ::2]  # it takes as long as all the others together
    if kind in ("2d106det", "1k3d68", "genderage", "sface"):
        x = (x * 50 + 127).clamp(0, 255)
    expected = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    found = graph(x)
    found = found if isinstance(found, tuple) else (found,)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(theirs).max() > 1e-3 or kind.startswith("scrfd_")  # a stride without faces has scores near 0
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


@pytest.mark.parametrize("kind", ["r50", "mbf", "2d106det", "1k3d68", "genderage", "sface"])
def test_a_batch_is_what_its_pictures_are(kind):
    graph = build(read_onnx(onnx_files.file(kind, width=4)))
    x = torch.from_numpy(noise(3, *graph.checked_shape[1:], seed=4))
    together, alone = graph(x), torch.cat([graph(picture) for picture in x.split(1)])
    assert together.shape == alone.shape
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_a_graph_made_for_one_picture_takes_several():
    """Exports for one picture write its number into their reshapes."""
    nodes = [("Conv", "x w", "c", {}), ("Reshape", "c s", "r", {}), ("MatMul", "r m", "y", {})]
    weights = {"w": CONV, "s": counted(1, -1), "m": noise(144, 5)}
    graph = build(parse_onnx(memoryview(model_of(nodes, weights)), "a.onnx"))
    x = torch.from_numpy(noise(3, 3, 8, 8))
    assert graph.takes_batches
    torch.testing.assert_close(graph(x), torch.cat([graph(picture) for picture in x.split(1)]))
    # where pictures would be mixed they are taken one by one
    nodes = [("Transpose", "x", "t", {"perm": [2, 3, 0, 1]}), ("Reshape", "t s", "y", {})]
    graph = build(parse_onnx(memoryview(model_of(nodes, {"s": counted(-1, 3)})), "a.onnx"))
    assert not graph.takes_batches
    torch.testing.assert_close(graph(x), torch.cat([graph(picture) for picture in x.split(1)]))


def test_initialisers_shared_between_nodes_stay_apart():
    nodes = [("Identity", "w", "w2", {}), ("Conv", "x w", "a", {"pads": [1] * 4}),
             ("BatchNormalization", "a s b m v", "n", {}), ("Conv", "n w2", "y", {})]  # fmt: skip
    weights = {"w": noise(3, 3, 3, 3), "s": noise(3), "b": noise(3), "m": noise(3), "v": noise(3) ** 2}
    expected, found = both(model_of(nodes, weights), torch.from_numpy(noise(1, 3, 8, 8)))
    np.testing.assert_allclose(found[0].numpy(), expected[0], atol=1e-5)


def test_convolutions_take_their_batch_norms_in():
    steps = plan(read_onnx(onnx_files.file("scrfd_500m", width=4))).steps
    assert not any(step.op == "BatchNormalization" for step in steps)
    mxnet = plan(read_onnx(onnx_files.file("2d106det", width=4))).steps
    plain = onnx.load(onnx_files.file("2d106det", width=4)).graph.node
    left = sum(step.op == "BatchNormalization" for step in mxnet)
    assert left < sum(node.op_type == "BatchNormalization" for node in plain) / 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_direction(dtype):
    path = onnx_files.file("r50", width=4)
    whole, half = build(read_onnx(path)), build(read_onnx(path), dtype=dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    x = torch.from_numpy(noise(4, 3, 112, 112))
    cosine = torch.cosine_similarity(half(x.to(dtype)).float(), whole(x))
    assert cosine.min() > 0.999


UNKNOWN = {
    "an operation": ([("Det", "x", "y", {})], {}, "not known here: 'Det'; export it without them, or choose another"),
    "an operation of another domain": ([("Relu", "x", "y", {"domain": "com.microsoft"})], {}, "com.microsoft.Relu"),
    "weights that are computed": ([("GlobalAveragePool", "x", "p", {}), ("Conv", "x p", "y", {})], {}, "Conv"),
    "cubic resizing": ([("Resize", "x r s", "y", {"mode": "cubic"})],
                       {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 2, 2])}, "Resize 'cubic'"),
    "nearest by other rounding": ([("Resize", "x r s", "y", {"mode": "nearest", "nearest_mode": "ceil",
                                                             "coordinate_transformation_mode": "asymmetric"})],
                                  {"r": np.zeros(0, np.float32), "s": np.float32([1, 1, 1.5, 1.5])},
                                  "Resize 'nearest'"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_said(name):
    nodes, weights, expected = UNKNOWN[name]
    with pytest.raises(UnknownGraph) as caught:
        build(parse_onnx(memoryview(model_of(nodes, weights)), "test.onnx"))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


DAMAGED = {
    "a weight of another shape": ([("Conv", "x w", "y", {})], {"w": noise(4, 5, 3, 3)}),
    "a missing input": ([("Relu", "z", "y", {})], {}),
    "a circle": ([("Add", "x b", "a", {}), ("Relu", "a", "b", {}), ("Relu", "b", "y", {})], {}),
    "a kernel larger than the picture": ([("Conv", "x w", "y", {})], {"w": noise(4, 3, 9, 9)}),
    "a size of terabytes": ([("Expand", "x e", "y", {})], {"e": counted(2**20, 3, 2**20, 8)}),
    "a constant of terabytes": ([("ConstantOfShape", "s", "c", {}), ("Add", "x c", "y", {})],
                                {"s": counted(2**20, 2**20)}),
    "a padding of terabytes": ([("Pad", "x p", "y", {})], {"p": counted(0, 0, 2**20, 2**20, 0, 0, 0, 0)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_what_does_not_fit_together_is_refused_before_memory_is_taken(name):
    nodes, weights = DAMAGED[name]
    with pytest.raises(WeightsError, match=r"^test\.onnx .*[^.]\.$"):
        build(parse_onnx(memoryview(model_of(nodes, weights)), "test.onnx"))
