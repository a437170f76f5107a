"""Chips for descriptors that were trained on the detector's boxes, with no alignment by landmarks."""

import math

import torch
from torch import Tensor

from ..found import Faces
from .alignment import Alignment, LandmarksOf
from .templates import Points

_BITS = 22  # after the point in Pillow's weights


class Boxes(Alignment):
    """What the detector's boxes show, see `crop_boxes`."""

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        return crop_boxes(image, faces, self.side)


def crop_boxes(image: Tensor, faces: Faces, size: int) -> Tensor:
    """What the boxes show, each squeezed into a square: facenet-pytorch's `extract_face` without a margin.

    image: [B, H, W, 3] in 0..1; faces: Faces found in it; size: side of a chip in pixels. Returns [N, 3, size, size]
    float32 in whole 255ths, the very pixels that the package gets. A box loses what is outside the image and then the
    fractions of its corners. Where the mouth is beside the eyes or above them rather than below, the chip is turned
    upright in quarters, which the package does not do. Boxes and landmarks are those of `faces.on_host`, so nothing is
    read.
    """
    chips, first = [], 0
    for picture, count in zip(image, faces.counts, strict=True):
        for face in faces.on_host[first : first + count]:
            left, right = _pixels(face.box[0], face.box[2], image.shape[2])
            top, bottom = _pixels(face.box[1], face.box[3], image.shape[1])
            chip = _squeezed(picture[top:bottom, left:right], size)
            chips.append(torch.rot90(chip, _quarters(face.landmarks), (1, 2)))
        first += count
    return torch.stack(chips) if chips else image.new_zeros(0, 3, size, size, dtype=torch.float32)


def _pixels(start: float, end: float, length: int) -> tuple[int, int]:
    """The pixels from `start` to `end` that the image has, and at least one."""
    first = int(min(max(start, 0), length - 1))
    return first, max(int(min(end, length)), first + 1)


def _squeezed(pixels: Tensor, size: int) -> Tensor:
    """[h, w, 3] in 0..1 -> [3, size, size] in whole 255ths, as Pillow resizes 8-bit pictures with BILINEAR."""
    values = (pixels.float() * 255).round().clamp(0, 255).to(torch.int32)
    fewer_rows, fewer_columns = (length - size for length in pixels.shape[:2])
    # Each pass rounds, so their order shows. Pillow before 13 always took the rows first.
    if fewer_rows > max(0, 2 * fewer_columns):
        values = _resampled(_resampled(values, size).transpose(0, 1), size).transpose(0, 1)
    else:
        values = _resampled(_resampled(values.transpose(0, 1), size).transpose(0, 1), size)
    return values.permute(2, 0, 1).float() / 255


def _resampled(values: Tensor, size: int) -> Tensor:
    """8-bit values [n, ...] int32 -> [size, ...]: Pillow's BILINEAR along one axis, in its fixed-point numbers.

    A triangle filter, as wide as the values are squeezed. Many values of a smooth picture come out halfway between two
    whole numbers, and which way these go depends on how the weights are rounded.
    """
    scale = len(values) / size
    reach = max(scale, 1.0)
    taps = 2 * math.ceil(reach) + 1
    centre = (torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) * scale
    place = (centre - reach + 0.5).clamp(min=0).trunc()[:, None] + torch.arange(taps, device="cpu")
    weight = (1 - (place - centre[:, None] + 0.5).abs() * (1 / reach)).clamp(min=0)
    weight *= place < len(values)
    weight = (weight / weight.sum(1, keepdim=True) * 2**_BITS + 0.5).to(values.device, torch.int32)
    place = place.clamp(max=len(values) - 1).to(values.device, torch.int64)
    values, shape = values.flatten(1), values.shape[1:]
    total = torch.full((size, values.shape[1]), 2 ** (_BITS - 1), dtype=torch.int32, device=values.device)
    for tap in range(taps):
        total += values.index_select(0, place[:, tap]) * weight[:, tap, None]
    return (total >> _BITS).clamp(0, 255).unflatten(1, shape)


def _quarters(landmarks: Points) -> int:
    """How many quarter turns against the clock bring the mouth below the eyes."""
    (x1, y1), (x2, y2), _, (x3, y3), (x4, y4) = landmarks
    x, y = x3 + x4 - x1 - x2, y3 + y4 - y1 - y2
    if abs(x) > abs(y):
        return 1 if x < 0 else 3
    return 2 if y < 0 else 0
