"""WithAnyone's picture of a face: its own arithmetic on Pillow's pictures, step by step."""

import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.crops import CROPS
from likeness.core.faces.found import Faces, HostFace
from on_device import StaysOnDevice
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

# Tall, wide, square, odd differences, over each edge of the photograph, and all of it outside.
BOXES = ((450.7, 60.2, 600.9, 250.1), (450.0, 60.0, 661.0, 200.9), (10.5, 20.9, 110.2, 120.3),
         (300.0, 300.0, 335.0, 364.0), (-40.6, -12.3, 80.0, 70.0), (600.0, 380.0, 720.0, 470.0),
         (-60.0, -90.0, -10.0, -40.0))  # fmt: skip


def faces_of(boxes, counts, size):
    host = tuple(HostFace(box, ((0.0, 0.0),) * 5, 0.9) for box in boxes)
    index = torch.tensor([number for number, count in enumerate(counts) for _ in range(count)])
    nothing = torch.zeros(len(boxes))
    return Faces(torch.tensor(boxes), nothing[:, None, None].expand(-1, 5, 2), nothing, index, counts, size, host)


def by_pillow(picture, box, size):
    left, top, right, bottom = (int(edge) for edge in box)
    if right - left > bottom - top:
        missing = (right - left) - (bottom - top)
        top, bottom = top - missing // 2, bottom + (missing - missing // 2)
    elif bottom - top > right - left:
        missing = (bottom - top) - (right - left)
        left, right = left - missing // 2, right + (missing - missing // 2)
    inside = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
    return np.array(picture.crop(inside).resize((size, size), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("size", [512, 64])
def test_the_pixels_are_the_authors(size):
    picture = photographs.picture("t1").crop((0, 0, 680, 400))
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = torch.cat([photographs.as_image(one) for one in (picture, other)])
    chips = CROPS["square"](size).chips(image, faces_of(BOXES, (4, 3), (400, 680)), None)
    assert chips.shape == (7, 3, size, size)
    for number, (box, chip) in enumerate(zip(BOXES[:-1], chips, strict=False)):
        found = (chip * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(found, by_pillow(picture if number < 4 else other, box, size)), box
    assert (chips[-1] - image[1, 0, 0][:, None, None]).abs().max() < 1e-6  # where the authors' code ends in an error


def test_nothing_is_read_on_the_way():
    with FakeTensorMode(allow_non_fake_inputs=True), StaysOnDevice():
        image = torch.rand(1, 400, 680, 3, device="cuda")
        chips = CROPS["square"](512).chips(image, faces_of(BOXES[:2], (2,), (400, 680)), None)
        assert chips.device.type == "cuda" and chips.shape == (2, 3, 512, 512)
