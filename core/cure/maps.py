"""Where in the picture a prompt's words are: differences between predictions, and cross-attention maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def prediction_difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How much two predicted pictures [B,C,H,W] of one latent differ -> [B,1,H,W].

    DiffEdit (Couairon et al. 2022, arXiv 2210.11427) finds so what a prompt is about.
    """
    return (one - other).float().abs().mean(dim=1, keepdim=True)


def selector(groups: list[tuple[int, ...]], length: int) -> torch.Tensor:
    """A matrix [length,A] that averages the columns of each group of token positions."""
    matrix = torch.zeros(length, len(groups))
    for column, positions in enumerate(groups):
        matrix[list(positions), column] = 1 / len(positions)
    return matrix


def attention_maps(q: torch.Tensor, k: torch.Tensor, select: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention probability of queries q [B,N,C] to groups of the keys k [1,T,C], mean over heads -> [B,A,N].

    The softmax needs every key's logit; only the columns that `select` [T,A] picks leave this function.
    """
    q, k = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k))
    logits = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    return (logits.softmax(dim=-1).mean(dim=1) @ select.to(logits)).transpose(1, 2)


def joint_maps(q: torch.Tensor, k: torch.Tensor, select: torch.Tensor) -> torch.Tensor:
    """Attention probability of queries q [B,heads,N,D] to groups of the keys k [B,heads,M,D], mean over heads
    -> [B,A,N].

    `select` [T,A], T <= M: which of the first T keys are in a group, as `selector` has it. The groups are the values of
    an attention, so that no table of N x M is ever there.
    """
    groups = F.pad(select, (0, max(q.shape[-1] - select.shape[-1], 0), 0, k.shape[2] - select.shape[0])).float()
    found = F.scaled_dot_product_attention(q.float(), k.float(), groups.expand(*k.shape[:2], -1, -1))
    return found[..., : select.shape[-1]].mean(1).transpose(1, 2)


def to_grid(maps: torch.Tensor, size: tuple[int, int], grid: tuple[int, int]) -> torch.Tensor:
    """Maps [B,A,N] of size[0] x size[1] tokens on another grid -> [B,A,H,W]."""
    return F.interpolate(maps.unflatten(-1, size), size=grid, mode="bilinear", align_corners=False)


def of_frames(rows: torch.Tensor, frames: Sequence[int], of: int) -> torch.Tensor:
    """Rows [F,...] of some pictures at their places among `of` pictures, with zeros elsewhere -> [of,...]."""
    out = rows.new_zeros(of, *rows.shape[1:])
    return out.index_add_(0, torch.tensor(frames, device=rows.device), rows)


_Sum = tuple[torch.Tensor, torch.Tensor]  # of maps [B,A,H,W], and of their weights


class MapSum:
    """Running mean of maps over layers, then over steps, on one grid."""

    def __init__(self):
        self._step: _Sum | None = None
        self._past: _Sum | None = None

    def add(
        self, maps: torch.Tensor, where: tuple[int, int, int, int] | None = None, grid: tuple[int, int] = (0, 0),
        frames: Sequence[int] | None = None, of: int = 0,
    ):  # fmt: skip
        """Add one layer's maps [B,A,h,w]; `where` = (height, width, top, left) of a region of the whole `grid`.

        `frames`: which of `of` pictures the rows are, None for all.
        """
        weight = torch.ones_like(maps[:1, :1])
        if where is not None:
            height, width, top, left = where
            edges = (left, grid[1] - left - width, top, grid[0] - top - height)
            maps, weight = F.pad(maps, edges), F.pad(weight, edges)
        if frames is not None:
            maps, weight = (of_frames(part, frames, of) for part in (maps, weight.expand(len(frames), -1, -1, -1)))
        self._step = _added(self._step, (maps, weight))

    def end_step(self) -> bool:
        """Close a step: later maps count as the next one's. False when no map came in."""
        if self._step is None:
            return False
        self._past, self._step = _added(self._past, self._step), None
        return True

    def mean(self) -> torch.Tensor | None:
        """The mean map [B,A,H,W] of all closed steps, or None before the first."""
        if self._past is None:
            return None
        maps, weight = self._past
        return maps / weight.clamp_min(1e-6)


def _added(before: _Sum | None, more: _Sum) -> _Sum:
    return more if before is None else (before[0] + more[0], before[1] + more[1])
