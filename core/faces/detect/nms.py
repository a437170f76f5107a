"""Greedy non-maximum suppression on fixed shapes, without a host read."""

import torch
from torch import Tensor

# Each round settles one more link of every suppression chain (A removes B, so B cannot remove C, ...). Chains of
# neighbouring windows on real images settle in well under ten rounds. The number is even on purpose: odd rounds
# remove too much and even rounds too little, so an unsettled chain would leave a duplicate and never lose a face.
ROUNDS = 16


def overlap(boxes: Tensor, mode: str) -> Tensor:
    """Pairwise overlap of boxes in one image.

    boxes: [B, N, 4] xyxy in pixels. mode: "union" divides the intersection by the union; "union of pixels" does so and
    counts the last pixel in (width = x2 - x1 + 1), as SCRFD's published code does; "min" divides by the smaller area
    and counts it in too, as MTCNN's last stage does. Returns [B, N, N].
    """
    last_pixel = 0.0 if mode == "union" else 1.0
    lower = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    upper = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    width, height = (upper - lower + last_pixel).clamp(min=0).unbind(-1)
    intersection = width * height
    width, height = (boxes[..., 2:] - boxes[..., :2] + last_pixel).unbind(-1)
    area = width * height
    if mode == "min":
        return intersection / torch.minimum(area[:, :, None], area[:, None, :])
    return intersection / (area[:, :, None] + area[:, None, :] - intersection)


def suppress(boxes: Tensor, valid: Tensor, threshold: float, mode: str = "union", rounds: int = ROUNDS) -> Tensor:
    """Which boxes greedy non-maximum suppression keeps; boxes come best first.

    boxes: [B, N, 4] xyxy in pixels, sorted by falling score; valid: [B, N] bool. Returns [B, N] bool.

    The greedy answer is the fixed point of keep[i] = valid[i] and no j < i with keep[j] and overlap[j, i] > threshold.
    Iterated from keep = valid, box i is final after as many rounds as the longest chain of removals above it.
    """
    removes = torch.triu(overlap(boxes, mode) > threshold, diagonal=1).to(boxes.dtype)
    keep = valid
    for _ in range(rounds):
        removed = torch.bmm(keep[:, None].to(boxes.dtype), removes)[:, 0] > 0
        keep = valid & ~removed
    return keep
