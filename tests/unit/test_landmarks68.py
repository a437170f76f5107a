"""68 landmarks against face-api's own JavaScript, and on photographs as they are, mirrored and turned."""

import json

import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.points.landmarks68 import (
    CHIP_SIZE,
    MIRRORED,
    Landmarks68,
    five_of,
    load_landmarks68,
    read_landmarks68,
)
from on_device import StaysOnDevice
from torch._subclasses.fake_tensor import FakeTensorMode


def reference():
    """Chips [N, 3, 112, 112] and what face-api's JavaScript made of them [N, 68, 2]."""
    recipes = json.loads((photographs.ROOT / "tests" / "data" / "face_api_landmarks.json").read_text())
    chips = torch.from_numpy(np.stack([photographs.reference_chip(recipe, CHIP_SIZE) for recipe in recipes]))
    return chips.permute(0, 3, 1, 2).float() / 255, torch.tensor([recipe["vector"] for recipe in recipes]).unflatten(
        1, (68, 2)
    )


@torch.no_grad()
def test_points_are_face_apis(device):
    chips, expected = reference()
    assert len(chips) >= 6
    got = load_landmarks68(device=device)(chips.to(device)).cpu()
    assert (got - expected).abs().max() < 1e-5


@torch.no_grad()
def test_half_precision_weights_stay_close(device):
    chips, expected = reference()
    module = Landmarks68(device=device, dtype=torch.bfloat16)
    module.load_state_dict(read_landmarks68())
    got = module(chips.to(device)).cpu()
    assert got.dtype == torch.float32 and (got - expected).abs().max() < 0.02


def points_of(encoder, image, faces, boxes):
    """Landmarks [N, 68, 2] and eye-to-mouth distances [N, 1] of the faces that the detector found at `boxes`."""
    places = [max(range(faces.total), key=lambda i: photographs.overlap(faces.on_host[i].box, box)) for box in boxes]
    length = (faces.landmarks[:, 0] - faces.landmarks[:, 4]).norm(dim=1)[places].cpu()
    return encoder.landmarks68(image, faces)[places].cpu(), faces.landmarks[places].cpu(), length[:, None]


@pytest.mark.parametrize("name", ["t1", "sample1"])
def test_points_fit_the_detectors_and_the_mirrored_picture(embedded, seen, name):
    image, faces = seen(name)
    width = image.shape[2]
    boxes = np.array([face["box"] for face in photographs.people()[name]["faces"]], np.float32)
    points, five, length = points_of(embedded, image, faces, boxes)
    assert ((five_of(points) - five).norm(dim=2) / length).mean(1).max() < 0.15
    mirrored = boxes.copy()
    mirrored[:, [0, 2]] = width - boxes[:, [2, 0]]
    again, _, _ = points_of(embedded, image.flip(2), embedded.detect(image.flip(2)), mirrored)
    again = again[:, MIRRORED]
    again[..., 0] = width - 1 - again[..., 0]
    assert ((again - points).norm(dim=2) / length).mean() < 0.06


def test_points_turn_with_the_face(embedded, seen):
    """The same faces in a picture on its side, landmarks turned with it: the same 68 points."""
    image, faces = seen("t1")
    upright = embedded.landmarks68(image, faces)
    turned = image.transpose(1, 2).flip(2).contiguous()  # clockwise: (x, y) -> (height - 1 - y, x)

    def turn(points):
        return torch.stack([image.shape[1] - 1 - points[..., 1], points[..., 0]], -1)

    sideways = type(faces)(
        faces.boxes, turn(faces.landmarks), faces.scores, faces.image_index, faces.counts, faces.image_size[::-1],
        faces.on_host,
    )  # fmt: skip
    torch.testing.assert_close(embedded.landmarks68(turned, sideways), turn(upright), atol=0.1, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_points_read_nothing(dtype):
    with FakeTensorMode(), StaysOnDevice():
        got = Landmarks68("cuda", dtype)(torch.rand(3, 3, CHIP_SIZE, CHIP_SIZE, device="cuda"))
        assert got.device.type == "cuda" and got.shape == (3, 68, 2) and got.dtype == torch.float32
