"""The ONNX files of the tests are what they claim: valid, named as published, and the torch references exactly."""

import collections

import numpy as np
import onnx
import onnx_files
import onnxruntime
import photographs
import pytest
import torch
from references.filling import pictures
from references.scrfd import ANCHORS, STRIDES

# All of one width, like those of other tests: each is fitted and written once.
KINDS = [
    ("r50", {}),
    ("r100", {}),
    ("mbf", {}),
    ("mbf", {"published": False}),
    ("sface", {}),
    ("2d106det", {}),
    ("1k3d68", {}),
    ("genderage", {}),
    ("scrfd_500m", {}),
    ("scrfd_500m", {"fixed": 320}),
    ("scrfd_500m", {"batched": True}),
    ("scrfd_500m", {"keypoints": False}),
    ("scrfd_1g", {}),
    ("scrfd_1gbn", {}),
    ("scrfd_2.5g", {}),
    ("scrfd_10g", {}),
    ("scrfd_10g", {"batched": True}),
    ("scrfd_34g", {}),
]
# of files that were published, by name, in bytes
PUBLISHED_SIZES = {
    "mbf": 13_616_099,
    "sface": 38_696_353,
    "2d106det": 5_030_888,
    "genderage": 1_322_532,
    "scrfd_500m": 2_524_817,
    "scrfd_10g": 16_923_827,
}


def _session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # batches and other sides than 640 differ from what the files declare
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _file(kind, **variant):
    return onnx_files.file(kind, width=4, **variant)


def _nodes(kind):
    return collections.Counter(node.op_type for node in onnx.load(_file(kind)).graph.node)


@pytest.mark.parametrize(("kind", "variant"), KINDS, ids=str)
def test_file_is_valid_and_equals_the_torch_reference(kind, variant):
    path = _file(kind, **variant)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = _session(path)
    entry = session.get_inputs()[0]
    one = kind.startswith("scrfd") and not variant.get("batched")
    side = variant.get("fixed", 256) if kind.startswith("scrfd") else entry.shape[2]
    pixels = pictures(1 if one else 2, side, 7)
    if entry.name == "input.1":
        pixels = (pixels - 127.5) / (128 if kind.startswith("scrfd") else 127.5)
    found = session.run(None, {entry.name: pixels.numpy()})
    wanted = onnx_files.reference(kind, width=4, **variant)(pixels)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(found) == len(wanted)
    for ours, theirs in zip(wanted, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-4)
        assert theirs.std() > 1e-3 or theirs.shape[-1] == 1 and theirs.max() < 0.5  # an empty stride scores nothing


@pytest.mark.parametrize(("kind", "variant"), KINDS, ids=str)
def test_no_two_weights_are_equal(kind, variant):
    weights = onnx.load(_file(kind, **variant)).graph.initializer
    # GroupNorm becomes InstanceNormalization with ones and zeros, then Mul and Add: the exporter's own
    values = [onnx.numpy_helper.to_array(tensor) for tensor in weights if tensor.data_type == onnx.TensorProto.FLOAT]
    values = [value.tobytes() for value in values if not np.isin(value, (0.0, 1.0)).all()]
    assert len(set(values)) == len(values) > 50


def test_recognisers_have_the_published_nodes_and_names():
    common = {"Flatten": 1, "Gemm": 1}
    assert _nodes("r50") == {"Conv": 53, "BatchNormalization": 26, "PRelu": 25, "Add": 24, **common}
    assert _nodes("r100") == {"Conv": 103, "BatchNormalization": 51, "PRelu": 50, "Add": 49, **common}
    assert _nodes("mbf") == {"Conv": 49, "PRelu": 34, "Add": 12, "BatchNormalization": 1, **common}
    for kind, output in (("r50", "683"), ("r100", "1333"), ("mbf", "516")):
        session = _session(_file(kind))
        entry = session.get_inputs()[0]
        assert (entry.name, entry.shape) == ("input.1", ["None", 3, 112, 112])
        assert [(value.name, value.shape) for value in session.get_outputs()] == [(output, [1, 512])]


def test_detectors_have_the_published_nodes_and_names():
    assert _nodes("scrfd_500m") == {
        "Conv": 60, "Relu": 41, "Sigmoid": 3, "Add": 4, "Resize": 2, "Concat": 2, "Reshape": 9, "Transpose": 9,
        "Shape": 6, "Gather": 4, "Unsqueeze": 4, "Slice": 2,
    }  # fmt: skip
    session = _session(_file("scrfd_10g"))
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [("input.1", [1, 3, "?", "?"])]
    names = "448 471 494 451 474 497 454 477 500".split()
    assert [value.name for value in session.get_outputs()] == names
    shapes = [[12800 // 4**level, columns] for columns in (1, 4, 10) for level in range(3)]
    assert [value.shape for value in session.get_outputs()] == shapes
    batched = _session(_file("scrfd_10g", batched=True))
    assert batched.get_inputs()[0].shape == ["?", 3, "?", "?"]
    assert batched.get_outputs()[5].name == "bbox_32" and batched.get_outputs()[5].shape == ["?", "?", 4]
    assert _session(_file("scrfd_500m", fixed=320)).get_inputs()[0].shape == [1, 3, 320, 320]


def test_exports_of_mxnet_look_like_it():
    for kind, first in (("2d106det", "_minusscalar0"), ("genderage", "_minusscalar0"), ("sface", "_minusscalar0"),
                        ("1k3d68", "bn_data")):  # fmt: skip
        graph = onnx.load(_file(kind)).graph
        assert (graph.input[0].name, graph.output[0].name, graph.node[0].name) == ("data", "fc1", first)
        assert all(node.name == node.output[0] for node in graph.node)
        nodes = collections.Counter(node.op_type for node in graph.node)
        assert nodes["BatchNormalization"] >= nodes["Conv"] - 4 > 20  # none is folded
        assert "conv_1_batchnorm_moving_var" in {weight.name for weight in graph.initializer} or kind == "1k3d68"
    sface = onnx.load(_file("sface")).graph
    assert len(sface.initializer) == 174 and len(sface.input) == 175


@pytest.mark.parametrize("kind", PUBLISHED_SIZES)
def test_size_of_the_file_is_the_published_one(kind):
    size = onnx_files.file(kind).stat().st_size
    assert abs(size / PUBLISHED_SIZES[kind] - 1) < 2e-3


@pytest.mark.parametrize("name", photographs.people())
def test_detector_finds_the_faces_of_the_photographs_and_little_else(name):
    pixels, faces = onnx_files.letterboxed(name)
    outputs = onnx_files.reference("scrfd_10g")(pixels)
    boxes = []
    for level, stride in enumerate(STRIDES):
        score, box, points = (outputs[level + 3 * kind] for kind in range(3))
        place = (score[:, 0] > 0.5).nonzero()[:, 0]
        cell = place // ANCHORS
        corner = torch.stack([cell % (640 // stride), cell // (640 // stride)], 1) * stride
        box = torch.cat([corner - box[place, :2] * stride, corner + box[place, 2:] * stride], 1)
        points = points[place].reshape(-1, 5, 2) * stride + corner[:, None]
        assert (points >= box[:, None, :2]).all() and (points <= box[:, None, 2:]).all()
        assert (points[:, 0, 0] < points[:, 1, 0]).all() and (points[:, :2, 1] < points[:, 3:, 1]).all()
        boxes += box.tolist()
    assert 3 <= len(boxes) <= 40
    assert all(30 < side < 200 for box in boxes for side in (box[2] - box[0], box[3] - box[1]))
    for face in faces:
        assert max(photographs.overlap(box, face.tolist()) for box in boxes) > 0.5
