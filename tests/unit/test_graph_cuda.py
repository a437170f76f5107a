"""Encoders from files under FakeTensorMode on "cuda": nothing is read back between the picture and the vectors."""

import onnx_files
import pytest
import torch
from likeness.core.faces.detect.mtcnn import FACES as MTCNN_FACES
from likeness.core.faces.detect.scrfd import FACES, load_scrfd
from likeness.core.faces.embedded import load_embedded
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.onnx.details import load_details
from likeness.core.faces.onnx.onnx_embedder import load_embedder
from likeness.core.weights.onnx_file import read_onnx
from on_device import StaysOnDevice
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

DTYPES = (torch.float32, torch.float16)


def moved(module: nn.Module) -> nn.Module:
    """The module with parameters and buffers of the same shapes and types on "cuda"."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                fake = torch.empty(value.shape, dtype=value.dtype, device="cuda")
                part._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, value in part._buffers.items():
            part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device="cuda")
    return module


def read(kind):
    return read_onnx(onnx_files.file(kind, width=4))


@pytest.fixture(scope="module")
def models():
    """Read before anything is fake."""
    return {kind: read(kind) for kind in ("r50", "mbf", "sface", "scrfd_10g", "scrfd_500m", "2d106det", "1k3d68",
                                          "genderage")}  # fmt: skip


def three_faces():
    index = torch.zeros(3, dtype=torch.long, device="cuda")
    host = HostFace((1.0, 2.0, 30.0, 40.0), ((5.0, 9.0),) * 5, 0.9)
    return Faces(torch.rand(3, 4, device="cuda"), torch.rand(3, 5, 2, device="cuda"), torch.rand(3, device="cuda"),
                 index, (2, 1), (480, 640), (host,) * 3)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["r50", "mbf", "sface"])
def test_descriptors_read_nothing(models, kind, dtype):
    module = load_embedder(models[kind], dtype=dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), StaysOnDevice():
        vectors = moved(module)(torch.rand(40, 3, 112, 112, device="cuda"))
        assert vectors.device.type == "cuda" and vectors.shape == (40, module.dim) and vectors.dtype == torch.float32


@pytest.mark.parametrize("kind", ["scrfd_10g", "scrfd_500m"])
def test_detectors_read_nothing(models, kind):
    module = load_scrfd(models[kind])
    with FakeTensorMode(allow_non_fake_inputs=True), StaysOnDevice():
        found = moved(module)(torch.rand(2, 480, 640, 3, device="cuda"))
        shapes = ((2, FACES, 4), (2, FACES, 5, 2), (2, FACES), (2, FACES))
        for tensor, shape in zip(found, shapes, strict=True):
            assert tensor.device.type == "cuda" and tensor.shape == shape


def test_details_read_nothing(models):
    module = load_details([models["2d106det"], models["1k3d68"], models["genderage"]])
    with FakeTensorMode(allow_non_fake_inputs=True), StaysOnDevice():
        found = moved(module)(torch.rand(2, 480, 640, 3, device="cuda"), three_faces())
        shapes = {"landmarks106": (3, 106, 2), "landmarks68": (3, 68, 3), "pose": (3, 3), "male": (3,), "age": (3,)}
        for name, shape in shapes.items():
            tensor = getattr(found, name)
            assert tensor.device.type == "cuda" and tensor.shape == shape


def test_the_second_opinion_reads_nothing():
    module = load_embedded().detector
    with FakeTensorMode(allow_non_fake_inputs=True), StaysOnDevice():
        found = moved(module)(torch.rand(2, 240, 320, 3, device="cuda"))
        assert found.valid.device.type == "cuda" and found.valid.shape == (2, MTCNN_FACES)
