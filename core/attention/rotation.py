"""Rotary positions (Su et al. 2021): queries and keys turned by where their tokens are, pair by pair."""

import torch


def rotated(x: torch.Tensor, pe: torch.Tensor) -> torch.Tensor:
    """Queries or keys x [B,heads,N or 1,D] turned by pe [B,1,N,D/2,2,2], a matrix for each pair of numbers."""
    pairs = x.to(pe.dtype).unflatten(-1, (-1, 1, 2))  # [B,heads,N,D/2,1,2]
    return (pe * pairs).sum(-1).flatten(-2).to(x.dtype)


def unrotated(x: torch.Tensor, pe: torch.Tensor) -> torch.Tensor:
    """x [B,heads,N,D] as it was before `rotated`, by the transposed matrices."""
    return rotated(x, pe.transpose(-1, -2))
