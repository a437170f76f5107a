"""How good a face on a photograph is for recognising somebody: five numbers in 0..1 and their combination."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..align.alignment import Alignment
from ..align.templates import Points
from ..align.transforms import similarity_transform, warp
from ..found import Faces, Landmark

NOSE_DEPTH = 0.5  # how far the nose's tip stands out from the plane of eyes and mouth, in distances between the eyes
ENOUGH_RANGE = 0.3  # from dark to bright in a well lit face; photographs in good light have 0.34 to 0.9
# Fine detail over coarse detail of a chip. A surface that is smooth everywhere has 1/16 and resampled ones 0.08; sharp
# photographs of faces start at 0.16, measured on 27 faces.
_SMOOTH, _SHARP = 0.08, 0.16
_LUMA = (0.299, 0.587, 0.114)
# What rounding to 8 bits puts into the squared Laplacian of a picture's luma: 20 is the kernel's sum of squares, 0.447
# that of the luma's weights, and a rounded value is off by 1/12 of a squared step.
_ROUNDING = 20 * 0.447 / 12 / 255**2


class Quality(NamedTuple):
    """Quality of N faces, each part [N] float32 in 0..1.

    score: the detector's confidence. size: 1 when the photograph has at least one pixel for each of the chip's, else
    the fraction of a pixel that it has, along one side. sharpness: see `sharpness`. light: see `light`. frontality: see
    `frontality`.
    """

    score: Tensor
    size: Tensor
    sharpness: Tensor
    light: Tensor
    frontality: Tensor

    @property
    def weight(self) -> Tensor:
        """score * min(size, sharpness) * light * frontality, [N] in 0..1.

        A small face gives a blurred chip, so that the smaller of the two is taken: the product would count one lack of
        detail twice. The others are independent of each other.
        """
        return self.score * torch.minimum(self.size, self.sharpness) * self.light * self.frontality


def quality_of(image: Tensor, faces: Faces, alignment: Alignment) -> Quality:
    """Quality of faces in image [B, H, W, 3] for a descriptor that is shown what `alignment` cuts out."""
    template, side = alignment.template, alignment.side
    matrices = similarity_transform(faces.landmarks, faces.landmarks.new_tensor(template))
    chips = warp(image, faces.image_index, matrices, side, antialias=True)
    return face_quality(chips, matrices, faces.landmarks, faces.scores, template)


def face_quality(chips: Tensor, matrices: Tensor, landmarks: Tensor, scores: Tensor, template: Points) -> Quality:
    """Quality of faces, without a read from the device.

    chips: [N, 3, S, S] RGB in 0..1, aligned by matrices: [N, 2, 3] from image to chip; landmarks: [N, 5, 2] in pixels
    of the image; scores: [N]; template: five (x, y) in chip pixels that the chips are aligned to.
    """
    pixels_per_chip_pixel = 1 / matrices[:, :, 0].norm(dim=1).clamp(min=1e-6)
    luma = _face_region((chips * chips.new_tensor(_LUMA)[:, None, None]).sum(1), template)
    return Quality(
        scores.float().clamp(0, 1), pixels_per_chip_pixel.clamp(max=1), sharpness(luma), light(luma),
        frontality(landmarks, template),
    )  # fmt: skip


def sharpness(luma: Tensor) -> Tensor:
    """Which part of the resolution that aligned grey chips [N, h, w] in 0..1 could show they do show -> [N] in 0..1.

    An octave is there when the deviation of its Laplacian is to that of two octaves below as in a sharp face, gone when
    it is as in a smooth surface; contrast and brightness cancel out. The finest octave is half of the resolution, the
    next a quarter; what is below the last that can be measured counts as there. Noise and hard steps count as detail.
    """
    pixels, share, there = luma[:, None], 1.0, luma.new_zeros(len(luma))
    rounding = _ROUNDING
    while min(pixels.shape[2:]) >= 16:
        fine = (_laplacian(pixels) - rounding).clamp(min=0)
        ratio = (fine / (_laplacian(F.avg_pool2d(pixels, 4)) + rounding)).sqrt()
        share /= 2
        there = there + share * ((ratio - _SMOOTH) / (_SHARP - _SMOOTH)).clamp(0, 1)
        pixels, rounding = F.avg_pool2d(pixels, 2), rounding / 4
    return there + share


def light(luma: Tensor) -> Tensor:
    """How much of the range from dark to bright grey chips [N, h, w] use -> [N] in 0..1.

    From the 5th to the 95th percentile, against 0.3. A range and no mean: dark skin in good light is well lit, and a
    burnt-out face is not.
    """
    ordered = luma.flatten(1).sort(dim=1).values
    last = ordered.shape[1] - 1
    return ((ordered[:, round(0.95 * last)] - ordered[:, round(0.05 * last)]) / ENOUGH_RANGE).clamp(0, 1)


def frontality(landmarks: Tensor, template: Points) -> Tensor:
    """Cosine of the angle between a face and the camera, from landmarks [N, 5, 2] -> [N] in 0..1; roll doesn't count.

    The nose stands out by NOSE_DEPTH: a head that turns by an angle a moves it by NOSE_DEPTH * sin(a) against eyes and
    mouth, while distances along the turn shrink by cos(a). Measured in the face's own shrunken axes, from eye to eye
    and from eyes to mouth, the nose is off its place in `template` by NOSE_DEPTH * tan(a), which has one cosine.
    """
    across, along = _nose_offset(landmarks.float())
    straight = _nose_offset(landmarks.new_tensor(template, dtype=torch.float32)[None])
    right, down = (axis.norm(dim=1) for axis in _axes(landmarks.new_tensor(template, dtype=torch.float32)[None]))
    away = torch.stack([across - straight[0], (along - straight[1]) * down / right])
    return 1 / (1 + (away / NOSE_DEPTH).square().sum(0)).sqrt()


def _nose_offset(points):
    """Where the nose lies between the middle of the eyes and that of the mouth, [N] each.

    across: along the line from eye to eye, in its length; along: from eyes (0) to mouth (1).
    """
    right, down = _axes(points)
    nose = points[:, Landmark.NOSE] - _middle(points, Landmark.LEFT_EYE, Landmark.RIGHT_EYE)
    area = _cross(right, down)
    area = torch.where(area.abs() < 1e-6, 1e-6, area)
    return _cross(nose, down) / area, _cross(right, nose) / area


def _axes(points):
    """From left to right and from the eyes to the mouth, [N, 2] each."""
    # both lines from left to right: a profile's eyes lie too close together to say which way is across
    eyes = points[:, Landmark.RIGHT_EYE] - points[:, Landmark.LEFT_EYE]
    right = (eyes + points[:, Landmark.RIGHT_MOUTH] - points[:, Landmark.LEFT_MOUTH]) / 2
    mouth = _middle(points, Landmark.LEFT_MOUTH, Landmark.RIGHT_MOUTH)
    return right, mouth - _middle(points, Landmark.LEFT_EYE, Landmark.RIGHT_EYE)


def _middle(points, left: Landmark, right: Landmark):
    return (points[:, left] + points[:, right]) / 2


def _cross(a, b):
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _laplacian(pixels):
    """Mean square of the Laplacian of [N, 1, h, w] -> [N]."""
    # sums, since a convolution may be rounded to TensorFloat-32
    inner = pixels[..., 1:-1, 1:-1]
    around = pixels[..., :-2, 1:-1] + pixels[..., 2:, 1:-1] + pixels[..., 1:-1, :-2] + pixels[..., 1:-1, 2:]
    return (around - 4 * inner).square().mean((1, 2, 3))


def _face_region(luma, template):
    """The part of chips [N, S, S] from brows to chin, without hair and surroundings, by the template alone."""
    side = luma.shape[-1]
    x, y = (sum(column) / len(template) for column in zip(*template, strict=True))
    reach = math.dist(template[Landmark.LEFT_EYE], template[Landmark.RIGHT_EYE])
    left, right = max(0, round(x - reach)), min(side, round(x + reach))
    top, bottom = max(0, round(y - 1.1 * reach)), min(side, round(y + 1.1 * reach))
    return luma[:, top:bottom, left:right]
