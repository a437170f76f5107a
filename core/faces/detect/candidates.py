"""What every face detector returns: a fixed number of places per image, some of them filled."""

from typing import NamedTuple

import torch
from torch import Tensor


class Candidates(NamedTuple):
    """Fixed-shape detections of a batch of images, so that nothing has to be read back to know their sizes.

    boxes: [B, K, 4] float32, xyxy in pixels, possibly reaching beyond the image.
    landmarks: [B, K, 5, 2] float32, (x, y) in pixels, see found.Landmark.
    scores: [B, K] float32 in 0..1; valid: [B, K] bool, which of the K places hold a face.
    """

    boxes: Tensor
    landmarks: Tensor
    scores: Tensor
    valid: Tensor


def best(scores: Tensor, valid: Tensor, count: int, *others: Tensor) -> tuple[Tensor, ...]:
    """The `count` best valid places of [B, N], falling; returns scores, valid and the `others` in that order."""
    order = scores.masked_fill(~valid, -1.0).topk(min(count, scores.shape[1])).indices
    image = torch.arange(len(scores), device=scores.device)[:, None]
    return tuple(tensor[image, order] for tensor in (scores, valid, *others))


def without_empty(scores: Tensor, valid: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """On the CPU, where a read costs nothing, only as many places as the fullest image fills; elsewhere all of them.

    Most places are empty, so this is several times faster there. On a GPU fixed shapes cost less than waiting does.
    """
    if valid.device.type != "cpu":
        return scores, valid, *others
    filled = int(valid.sum(1).amax())  # host read: on the CPU only
    return best(scores, valid, max(filled, 1), *others)


def padded(tensor: Tensor, places: int) -> Tensor:
    """[B, K, ...] with empty places up to [B, places, ...]."""
    missing = places - tensor.shape[1]
    if missing == 0:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(tensor.shape[0], missing, *tensor.shape[2:])], 1)
