"""Resizing 8-bit pictures to the very pixels of cv2.resize with INTER_LINEAR, which InsightFace's detectors are fed."""

import torch
from torch import Tensor

_BITS = 11  # after the point in the weights of the published code


def resize_bilinear(pixels: Tensor, height: int, width: int) -> Tensor:
    """pixels: [B, H, W, C] int32 in 0..255 -> [B, height, width, C] int32: two taps an axis, nothing is averaged.

    Weights are whole 2048ths, and what the rows give is cut to whole 16ths before the columns are combined; both show
    in the last bit, and a detector's scores with it.
    """
    above, below, upper, lower = _taps(pixels.shape[1], height, pixels.device)
    left, right, first, second = _taps(pixels.shape[2], width, pixels.device)

    def rows(at):
        row = pixels.index_select(1, at)
        return row.index_select(2, left) * first[:, None] + row.index_select(2, right) * second[:, None]

    upper, lower = upper[:, None, None], lower[:, None, None]
    return (((rows(above) >> 4) * upper >> 16) + ((rows(below) >> 4) * lower >> 16) + 2) >> 2


def _taps(length: int, size: int, device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The two pixels that each of `size` new ones lies between, and their weights."""
    place = ((torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) * (length / size) - 0.5).float()
    place = place.clamp(0, length - 1)
    first = place.floor()
    part = place - first
    second = (first + 1).clamp(max=length - 1)
    weights = ((share * 2**_BITS).round().int() for share in (1 - part, part))
    return tuple(value.to(device) for value in (first.long(), second.long(), *weights))
