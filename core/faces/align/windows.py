"""Upright windows around a face, for descriptors that are not aligned by landmarks: a box, or the whole person."""

import torch
from torch import Tensor

from ..found import Faces
from .alignment import Alignment, LandmarksOf
from .transforms import upright, warp


class Window(Alignment):
    """A window of `size` (height, width) pixels; where it lies, in heights of the face's box: how far above the box it
    begins, and how high it is.

    Its middle is the box's, its width follows from the size's proportions. What lies outside the picture is black.
    """

    def __init__(self, above: float, height: float, size: tuple[int, int]):
        super().__init__(size[0])
        self.above, self.height, self.size = above, height, size

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        left, top, right, bottom = faces.boxes.unbind(1)
        unit, (rows, columns) = bottom - top, self.size
        centre = torch.stack([(left + right) / 2, top + (self.height / 2 - self.above) * unit], 1)
        # boxes count pixel edges, transforms pixel centres
        middle = centre.new_tensor([(columns - 1) / 2, (rows - 1) / 2])
        matrices = upright(centre - 0.5, rows / (unit * self.height), middle)
        return warp(image, faces.image_index, matrices, self.size, antialias=True)


# A head's box and a seventh more on each side; a standing body is about seven and a half heads high.
_FACE, _PERSON = (0.15, 1.3), (0.4, 7.9)


def face_window(size: tuple[int, int]) -> Window:
    """The face with a little around it."""
    return Window(*_FACE, size)


def person_window(size: tuple[int, int]) -> Window:
    """Where the body of an upright standing person is, from the face: an estimate, since nothing looks for bodies."""
    return Window(*_PERSON, size)
