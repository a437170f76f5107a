"""Similarity transforms from landmarks to a template, and sampling faces out of images with them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def similarity_transform(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarity (rotation, one scale, shift; no reflection) that takes source points to target points.

    source: [N, P, 2] and target: [P, 2], (x, y) in pixels. Returns [N, 2, 3] float32 with target = M @ (x, y, 1).
    With centred points as complex numbers s and t the minimiser of sum |t - z s|^2 is z = sum(conj(s) t) / sum |s|^2,
    which is Umeyama's (1991) solution without its reflection case, and needs no singular value decomposition.
    """
    source = source.float()
    target = target.to(source)
    source_mean, target_mean = source.mean(1), target.mean(0)
    s, t = source - source_mean[:, None], target - target_mean
    norm = (s * s).sum((1, 2))
    real = (s * t).sum((1, 2)) / norm
    imaginary = (s[..., 0] * t[:, 1] - s[..., 1] * t[:, 0]).sum(1) / norm
    turn = torch.stack([real, -imaginary, imaginary, real], 1).unflatten(1, (2, 2))
    shift = target_mean - (turn @ source_mean[..., None])[..., 0]
    return torch.cat([turn, shift[..., None]], 2)


def invert(matrices: Tensor) -> Tensor:
    """Inverse of similarity transforms, [N, 2, 3] -> [N, 2, 3]."""
    real, imaginary = matrices[:, 0, 0], matrices[:, 1, 0]
    norm = real * real + imaginary * imaginary
    turn = torch.stack([real, imaginary, -imaginary, real], 1).unflatten(1, (2, 2)) / norm[:, None, None]
    return torch.cat([turn, -(turn @ matrices[:, :, 2:])], 2)


def transform_points(matrices: Tensor, points: Tensor) -> Tensor:
    """Transforms [N, 2, 3] on points [N, P, 2] -> [N, P, 2]."""
    return points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]


def upright(centre: Tensor, scale: Tensor, target: Tensor | float) -> Tensor:
    """Transforms [N, 2, 3] that scale by [N] and take centres [N, 2] to one place (x, y), without a turn."""
    turn = scale[:, None, None] * torch.eye(2, device=scale.device)
    return torch.cat([turn, (target - scale[:, None] * centre)[..., None]], 2)


def warp(
    image: Tensor, image_index: Tensor, matrices: Tensor, size: int | tuple[int, int], antialias: bool
) -> Tensor:  # fmt: skip
    """Cut chips out of images: chip pixel (x, y) shows the image at inverse(matrix) @ (x, y, 1).

    image: [B, H, W, 3] in any float dtype; image_index: [N] long, the image of each chip; matrices: [N, 2, 3] image to
    chip; size: chip side in pixels, or its (height, width). Returns [N, 3, height, width] float32. Bilinear with whole
    numbers at pixel centres and zeros outside the image, as cv2.warpAffine(INTER_LINEAR). With `antialias`, chips that
    shrink the image are taken between the two nearest levels of a pyramid of 2 x 2 means (Williams 1983, trilinear), so
    that fine detail of a large face averages out instead of folding into the chip.
    """
    image = image.float()
    size = size if isinstance(size, tuple) else (size, size)
    down, across = (torch.arange(length, device=image.device, dtype=torch.float32) for length in size)
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1).flatten(0, 1)
    inverse = invert(matrices.to(image))
    points = transform_points(inverse, grid.expand(len(matrices), -1, -1))
    if not antialias:
        return _bilinear(image, image_index, points).unflatten(2, size)
    shrink = inverse[:, :, 0].norm(dim=1)
    # a chip shrinks no more than the whole image would, so the number of levels is known without reading `shrink`
    levels = max(1, math.ceil(math.log2(max(image.shape[1:3]) / min(size))) + 1)
    level_of_chip = shrink.log2().clamp(0, levels - 1)
    chips = image.new_zeros(())
    for level in range(levels):
        weight = (1 - (level_of_chip - level).abs()).clamp(min=0)
        # centre of pixel x of the image, seen in an image whose pixels are 2^level wide
        chips = chips + weight[:, None, None] * _bilinear(image, image_index, (points + 0.5) / 2**level - 0.5)
        if level + 1 < levels:
            image = F.avg_pool2d(image.permute(0, 3, 1, 2), 2, ceil_mode=True).permute(0, 2, 3, 1)
    return chips.unflatten(2, size)


def _bilinear(image: Tensor, image_index: Tensor, points: Tensor) -> Tensor:
    """image [B, H, W, C] at points [N, P, 2] -> [N, C, P]; gathers four pixels per point instead of copying images."""
    height, width = image.shape[1:3]
    base = points.floor()
    fraction = points - base
    total = image.new_zeros(())
    for down in (0, 1):
        for right in (0, 1):
            x, y = base[..., 0] + right, base[..., 1] + down
            weight_x = fraction[..., 0] if right else 1 - fraction[..., 0]
            weight_y = fraction[..., 1] if down else 1 - fraction[..., 1]
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            pixel = image[image_index[:, None], y.clamp(0, height - 1).long(), x.clamp(0, width - 1).long()]
            total = total + pixel * (weight_x * weight_y * inside)[..., None]
    return total.transpose(1, 2)
