"""Pillow's resizing of 8-bit pictures in torch, in its own fixed-point numbers: the very pixels, on any device."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_BITS = 22  # after the point in Pillow's weights


class Filter(NamedTuple):
    """reach: how far it sees, in pixels of the smaller picture; weight: of what is so far away, float64."""

    reach: float
    weight: Callable[[Tensor], Tensor]


def _cubic(distance):
    """Keys' cubic with a = -1/2."""
    x = distance.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far)


BILINEAR = Filter(1.0, lambda distance: 1 - distance.abs())
BICUBIC = Filter(2.0, _cubic)
LANCZOS = Filter(3.0, lambda distance: distance.sinc() * (distance / 3).sinc())


def resized(image: Tensor, height: int, width: int, kind: Filter) -> Tensor:
    """Pictures [..., H, W] in 0..1, rounded to whole 255ths -> [..., height, width] float32, as Image.resize."""
    values = (image.float() * 255).round().clamp(0, 255).to(torch.int32)
    fewer_rows, fewer_columns = image.shape[-2] - height, image.shape[-1] - width
    # Each pass rounds, so their order shows. Pillow before 13 always took the rows first.
    if fewer_rows > max(0, 2 * fewer_columns):
        values = _along(_along(values, -2, height, kind), -1, width, kind)
    else:
        values = _along(_along(values, -1, width, kind), -2, height, kind)
    return values.float() / 255


def _along(values, axis, size, kind):
    """8-bit values int32 resampled to a size along the last axis or the one before it.

    The filter is as wide as the values are squeezed. Many values of a smooth picture come out halfway between two whole
    numbers, and which way these go depends on how the weights are rounded.
    """
    length = values.shape[axis]
    scale = length / size
    wide = max(scale, 1.0)
    reach = kind.reach * wide
    taps = 2 * math.ceil(reach) + 1
    centre = (torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) * scale
    place = (centre - reach + 0.5).clamp(min=0).trunc()[:, None] + torch.arange(taps, device="cpu")
    distance = (place - centre[:, None] + 0.5) * (1 / wide)
    weight = kind.weight(distance) * (distance.abs() < kind.reach) * (place < length)
    weight = weight / weight.sum(1, keepdim=True) * 2**_BITS
    weight = (weight + weight.sign() / 2).to(values.device, torch.int32)
    place = place.clamp(max=length - 1).to(values.device, torch.int64)
    if axis == -2:
        weight = weight[:, :, None]
    total: int | Tensor = 2 ** (_BITS - 1)
    for tap in range(taps):
        total = total + values.index_select(axis, place[:, tap]) * weight[:, tap]
    return (total >> _BITS).clamp(0, 255)
