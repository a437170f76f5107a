"""Cutting the parts of a face out of its picture, for adapters that look at each of them by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cut_parts(image: Tensor, labels: Tensor, parts: Sequence[Sequence[int]]) -> tuple[Tensor, list[int]]:
    """Pictures in which all but one part is black, [P,H,W,3], and which parts they show.

    image [1,H,W,3] in 0..1; labels [1,h,w], a face parser's. A part is the first of its classes that is in the
    picture, its holes filled (a face's are eyes and mouth), with a soft edge where its mask was resized; parts of which
    no class is there are left out.
    """
    classes = [number for part in parts for number in part]
    masks = torch.cat([labels == number for number in classes])
    there = dict(zip(classes, masks.flatten(1).any(1).tolist(), strict=True))  # host read: the prompt names the parts
    found = [[number for number in part if there[number]] for part in parts]
    shown = [index for index, numbers in enumerate(found) if numbers]
    if not shown:
        return image[:0], shown
    kept = fill_holes(masks[[classes.index(found[index][0]) for index in shown]])
    kept = F.interpolate(kept[:, None].to(image), image.shape[1:3], mode="bicubic", antialias=True).clamp(0, 1)
    return image * kept.movedim(1, -1), shown


def fill_holes(mask: Tensor) -> Tensor:
    """bool [N,H,W] with everything filled that no way over the cells' edges leads into from outside."""
    free = F.pad(~mask, (1, 1, 1, 1), value=True)
    outside = F.pad(torch.zeros_like(mask), (1, 1, 1, 1), value=True)
    while True:
        before = outside
        for dim in (-1, -2):
            outside = _spread(outside, free, dim) | _spread(outside.flip(dim), free.flip(dim), dim).flip(dim)
        if torch.equal(before, outside):  # host read: how winding the outline is, nobody knows before
            return ~outside[:, 1:-1, 1:-1]


def _spread(outside, free, dim):
    """From each cell that is outside on to the next wall."""
    size = free.shape[dim]
    place = torch.arange(size, device=free.device).unflatten(0, (size, 1) if dim == -2 else (1, size))
    wall = torch.where(free, -1, place).cummax(dim).values
    seen = torch.where(outside, place, -1).cummax(dim).values
    return seen > wall
