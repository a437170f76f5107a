"""The path from image to embedding under FakeTensorMode on "cuda": every host read raises, with or without a GPU."""

import pytest
import torch
from likeness.core.faces.align.alignment import FivePoints
from likeness.core.faces.align.templates import DLIB_TEMPLATE
from likeness.core.faces.describe.dlib import DlibResNet
from likeness.core.faces.detect.mtcnn import MTCNN
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.points.landmarks68 import Landmarks68
from on_device import StaysOnDevice
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode


@pytest.fixture()
def on_cuda():
    with FakeTensorMode(), StaysOnDevice():
        yield


def encoder(dtype):
    return FaceEncoder(
        MTCNN("cuda", dtype), DlibResNet("cuda", dtype), "dlib-resnet34-128", 128,
        FivePoints(DLIB_TEMPLATE, 150, antialias=True), Landmarks68("cuda", dtype),
    )  # fmt: skip


def three_faces():
    host = HostFace((1.0, 2.0, 30.0, 40.0), ((5.0, 9.0),) * 5, 0.9)
    index = torch.zeros(3, dtype=torch.long, device="cuda")
    return Faces(torch.rand(3, 4, device="cuda"), torch.rand(3, 5, 2, device="cuda"), torch.rand(3, device="cuda"),
                 index, (2, 1), (480, 640), (host,) * 3)  # fmt: skip


def test_the_guards_catch_host_reads(on_cuda):
    x = torch.rand(4, device="cuda")
    with pytest.raises(DataDependentOutputException):
        x.sum().item()
    with pytest.raises(DataDependentOutputException):
        bool(x.sum() > 1)
    with pytest.raises(AssertionError, match="left the device"):
        x.to("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_align_crop_and_embed_read_nothing(on_cuda, dtype):
    module, faces = encoder(dtype), three_faces()
    image = torch.rand(2, 480, 640, 3, device="cuda", dtype=dtype)
    for tensor, shape in (
        (module.align(image, faces), (3, 3, 150, 150)),
        (module.crop(image, faces, 96), (3, 3, 96, 96)),
        (module.embed(image, faces), (3, 128)),
        (module.landmarks68(image, faces), (3, 68, 2)),
    ):
        assert tensor.device.type == "cuda" and tensor.shape == shape and tensor.dtype == torch.float32


def test_choosing_faces_reads_nothing(on_cuda):
    faces = three_faces()
    chosen = Faces.concatenate([faces, faces]).select("left to right", "0")
    assert chosen.boxes.device.type == "cuda" and chosen.boxes.shape == (4, 4) and chosen.counts == (1, 1, 1, 1)
