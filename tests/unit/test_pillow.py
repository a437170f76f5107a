"""Resizing in torch against Pillow itself: the very pixels."""

import numpy as np
import photographs
import pytest
import torch
from likeness.core.pillow import BICUBIC, BILINEAR, LANCZOS, resized
from PIL import Image

FILTERS = {"bilinear": (BILINEAR, Image.Resampling.BILINEAR), "bicubic": (BICUBIC, Image.Resampling.BICUBIC),
           "lanczos": (LANCZOS, Image.Resampling.LANCZOS)}  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("size", [(96, 96), (640, 640), (300, 150), (173, 217)])
def test_the_pixels_are_pillows(name, size):
    """Squeezed, drawn out, one axis only, and neither by a whole number; with edges from black to white."""
    ours, theirs = FILTERS[name]
    picture = photographs.picture("t1").crop((450, 60, 750, 277))
    pixels = np.array(picture)
    pixels[40:80:2, 60:90] = 0
    pixels[41:81:2, 60:90] = 255
    expected = np.array(Image.fromarray(pixels).resize(size, theirs))
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    found = (resized(image, size[1], size[0], ours)[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)
