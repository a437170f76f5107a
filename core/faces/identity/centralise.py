"""Neighbour feature centralisation: each face's vector moves towards the faces of its set that are close to it."""

import torch
import torch.nn.functional as F
from torch import Tensor

ENOUGH = 6  # in fewer vectors "nearest" says little, and two of one person would merge with whoever else is there


def centralise(vectors: Tensor, k1: int = 2, k2: int = 2) -> Tensor:
    """Vectors [N, D] of a set -> [N, D], each with its own length; under ENOUGH of them come back as they are.

    With f the vectors at length 1, f_i becomes f_i plus the sum of its mutual neighbours: those j among the k1 nearest
    of i that have i among their k2 nearest; then it gets length 1 and the old length again. Nearest is by Euclidean
    distance at length 1, which is the order of cosines; among equals the first in the set. Source: Yuan et al., "From
    Poses to Identity" (CVPR 2025), who leave out the last step.
    """
    count = len(vectors)
    if count < ENOUGH:
        return vectors
    unit = F.normalize(vectors.float(), dim=1)
    likeness = (unit @ unit.T).masked_fill(torch.eye(count, dtype=torch.bool, device=vectors.device), -torch.inf)
    order = likeness.argsort(dim=1, descending=True, stable=True)
    mutual = _among(order[:, :k1], count) & _among(order[:, :k2], count).T
    moved = unit + mutual.float() @ unit
    length = vectors.float().norm(dim=1, keepdim=True)
    return (F.normalize(moved, dim=1) * length).to(vectors.dtype)


def _among(nearest, count):
    """[N, k] indexes -> bool [N, N], True where the column's index is one of the row's."""
    return torch.zeros(len(nearest), count, dtype=torch.bool, device=nearest.device).scatter(1, nearest, True)
