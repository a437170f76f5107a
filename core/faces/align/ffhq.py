"""FFHQ's alignment, which StyleGAN's faces and their encoders have (Karras, Laine, Aila 2019)."""

import torch
from torch import Tensor

from ..found import Faces
from .alignment import Alignment, LandmarksOf
from .transforms import invert, warp

_LEFT_EYE, _RIGHT_EYE, _LEFT_CORNER, _RIGHT_CORNER = slice(36, 42), slice(42, 48), 48, 54


def ffhq_transform(points: Tensor, size: int) -> Tensor:
    """Similarity transforms [N, 2, 3] from image to chip pixels for 68 landmarks [N, 68, 2] in pixels.

    As in the script that made the data set: with e from eye to eye and m from between the eyes to the middle of the
    mouth, one side of the square runs along e - turned(m) and is twice as long as the greater of 2 |e| and 1.8 |m|; its
    middle lies 0.1 m below the eyes.
    """
    left, right = points[:, _LEFT_EYE].mean(1), points[:, _RIGHT_EYE].mean(1)
    eyes, across = (left + right) / 2, right - left
    down = (points[:, _LEFT_CORNER] + points[:, _RIGHT_CORNER]) / 2 - eyes
    half = across - _turned(down)
    reach = torch.maximum(across.norm(dim=1) * 2.0, down.norm(dim=1) * 1.8)
    half = half / half.norm(dim=1, keepdim=True) * reach[:, None]
    turned = _turned(half)
    # where the middle of chip pixel (0, 0) lies in the image, whose landmarks count pixel middles too
    corner = eyes + 0.1 * down - (half + turned) * (1 - 1 / size)
    return invert(torch.stack([half * 2 / size, turned * 2 / size, corner], 2))


def _turned(vector: Tensor) -> Tensor:
    """(x, y) -> (-y, x): a quarter turn, clockwise on a picture."""
    return torch.stack([-vector[:, 1], vector[:, 0]], 1)


class FFHQ(Alignment):
    """Faces as FFHQ has them; what lies outside the image is black, where the data set's borders are mirrored."""

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        matrices = ffhq_transform(landmarks68(image, faces), self.side)
        return warp(image, faces.image_index, matrices, self.side, antialias=True)
