"""FFHQ's alignment against the published recipe, written out with numpy and cut out by Pillow."""

import math

import numpy as np
import pytest
import torch
from likeness.core.faces.align.ffhq import FFHQ, ffhq_transform
from likeness.core.faces.align.transforms import transform_points
from likeness.core.faces.crops import CROPS
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.points.landmarks68 import Landmarks68
from on_device import StaysOnDevice
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode


def published_quad(landmarks):
    """Corners of the square from 68 points: top left, bottom left, bottom right, top right."""
    eyes = [sum(landmarks[first : first + 6]) / 6 for first in (36, 42)]
    between = (eyes[0] + eyes[1]) * 0.5
    eye_to_eye = eyes[1] - eyes[0]
    eye_to_mouth = (landmarks[48] + landmarks[54]) * 0.5 - between
    direction = complex(*eye_to_eye) - 1j * complex(*eye_to_mouth)
    x = direction / abs(direction) * max(math.hypot(*eye_to_eye) * 2.0, math.hypot(*eye_to_mouth) * 1.8)
    middle = complex(*(between + eye_to_mouth * 0.1))
    return [(z.real, z.imag) for z in (middle - x - 1j * x, middle - x + 1j * x, middle + x + 1j * x,
                                       middle + x - 1j * x)]  # fmt: skip


@pytest.fixture(scope="module")
def found(embedded, seen):
    image, faces = seen("t1")
    return embedded, image, faces.select("largest", "0,1,2")


@pytest.mark.parametrize("size", [256, 512, 97])
def test_the_square_is_the_published_one(found, device, size):
    """Corners of the chip, which are half a pixel outside the middles of its corner pixels."""
    encoder, image, faces = found
    points = torch.cat([encoder.landmarks68(image, faces).cpu(), torch.rand(40, 68, 2) * 500]).to(device)
    matrices = ffhq_transform(points, size)
    expected = torch.tensor([published_quad(face) for face in points.cpu().double().numpy()], dtype=torch.float32)
    edge = size - 0.5
    corners = torch.tensor([[-0.5, -0.5], [-0.5, edge], [edge, edge], [edge, -0.5]]).expand(len(points), 4, 2)
    wide = (expected[:, 0] - expected[:, 2]).norm(dim=1)
    off = (transform_points(matrices.cpu(), expected) - corners).norm(dim=2).amax(1)
    assert (off[wide > 10] < 0.02).all() and (wide > 10).sum() > 40


def test_the_chip_shows_what_pillows_does(found):
    """Pillow's QUAD in the data set's script: bilinear, enlarging, so that nothing is averaged on either side."""
    encoder, image, faces = found
    size = 512
    ours = CROPS["ffhq"](size).chips(image, faces, encoder.landmarks68).cpu()
    picture = Image.fromarray((image[0].cpu().numpy() * 255).round().astype(np.uint8))
    for chip, points in zip(ours, encoder.landmarks68(image, faces).cpu().double().numpy(), strict=True):
        quad = np.array(published_quad(points)) + 0.5
        theirs = picture.transform((size, size), Image.QUAD, quad.flatten(), Image.BILINEAR)
        theirs = torch.from_numpy(np.asarray(theirs).copy()).permute(2, 0, 1) / 255
        inside = theirs.amax(0) > 0
        assert (chip - theirs).abs()[:, inside].median() < 0.004


def test_nothing_is_read_on_the_way():
    with FakeTensorMode(), StaysOnDevice():
        encoder = FaceEncoder(None, None, "none", 0, FFHQ(256), Landmarks68("cuda"))
        host = HostFace((0.0,) * 4, ((0.0, 0.0),) * 5, 0.9)
        index = torch.zeros(2, dtype=torch.long, device="cuda")
        faces = Faces(torch.rand(2, 4, device="cuda"), torch.rand(2, 5, 2, device="cuda"),
                      torch.rand(2, device="cuda"), index, (2,), (480, 640), (host,) * 2)  # fmt: skip
        chips = encoder.align(torch.rand(1, 480, 640, 3, device="cuda"), faces)
    assert chips.device.type == "cuda" and chips.shape == (2, 3, 256, 256)
