"""Chips for descriptors that were trained on the detector's boxes, with no alignment by landmarks."""

import torch
from torch import Tensor

from ...pillow import BILINEAR, resized
from ..found import Faces
from .alignment import Alignment, LandmarksOf
from .templates import Points


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
            chip = resized(picture[top:bottom, left:right].movedim(-1, 0), size, size, BILINEAR)
            chips.append(torch.rot90(chip, _quarters(face.landmarks), (1, 2)))
        first += count
    return torch.stack(chips) if chips else image.new_zeros(0, 3, size, size, dtype=torch.float32)


def _pixels(start: float, end: float, length: int) -> tuple[int, int]:
    """The pixels from `start` to `end` that the image has, and at least one."""
    first = int(min(max(start, 0), length - 1))
    return first, max(int(min(end, length)), first + 1)


def _quarters(landmarks: Points) -> int:
    """How many quarter turns against the clock bring the mouth below the eyes."""
    (x1, y1), (x2, y2), _, (x3, y3), (x4, y4) = landmarks
    x, y = x3 + x4 - x1 - x2, y3 + y4 - y1 - y2
    if abs(x) > abs(y):
        return 1 if x < 0 else 3
    return 2 if y < 0 else 0
