"""Resized pictures are cv2's, bit for bit where a detector shrinks them."""

import cv2
import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.align.resize import resize_bilinear


@pytest.mark.parametrize("name", ["t1", "sample1", "sample6"])
@pytest.mark.parametrize("size", [(443, 640), (88, 128), (640, 300), (1, 1)])
def test_shrunk_photographs_are_those_of_cv2(name, size):
    pixels = np.array(photographs.picture(name))
    expected = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
    found = resize_bilinear(torch.from_numpy(pixels)[None].int(), *size)[0]
    assert np.array_equal(found.numpy(), expected)


def test_enlarged_ones_differ_in_the_last_bit_at_most():
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    expected = cv2.resize(pixels, (640, 447), interpolation=cv2.INTER_LINEAR).astype(int)
    found = resize_bilinear(torch.from_numpy(pixels)[None].int(), 447, 640)[0].numpy()
    assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.01
