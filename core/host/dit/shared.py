"""What rows without identity say in the attentions of transformer blocks: keys for their twins, and maps of words.

Prompt and picture stand in one sequence there, [prompt, picture, reference pictures]. Queries and keys come rotated; a
row and its twin have the same places, so that the keys of one are right for the other.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from ...attention import extra_key_heads, toward_mean, toward_mean_rotated
from ...cure.maps import joint_maps
from ..sampling.rows import rows_of
from ..sampling.twins import MERGED, Given, TwinRun


class Sequence(NamedTuple):
    """The tokens of one block's attention: `text` of the prompt, the picture's on `grid`, others. `pe` rotates them."""

    key: tuple  # of the block
    text: int
    grid: tuple[int, int]
    pe: torch.Tensor  # [B,1,N,D/2,2,2]

    @property
    def picture(self) -> slice:
        return slice(self.text, self.text + self.grid[0] * self.grid[1])

    def is_in(self, q: torch.Tensor) -> bool:
        """Whether queries [B,heads,N,D] are of these tokens; another node may have merged some."""
        return q.ndim == 4 and self.picture.stop <= q.shape[2] == self.pe.shape[2]


def seeing_twins(
    sequence: Sequence, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None,
    attend: Callable, is_others: bool, options: dict, run: TwinRun,
) -> torch.Tensor | None:  # fmt: skip
    """Attention [B,N,C] of q, k, v [B,heads,N,D], where conditional rows with identity see keys of their twins'.

    Only picture sees picture, as FreeCure (Cai et al. 2024) has it on FLUX: queries of the prompt and of reference
    pictures see what they ever did. None where no row sees more. `attend(q, k, v, mask)`: the attention itself;
    `is_others`: another pack computes it, and gets whole batches as ever.
    """
    if not sequence.is_in(q):
        run.run.say(MERGED)
        return None
    rows = rows_of(options, q.shape[0])
    if rows.places is None:
        return None
    blocks = list(zip(*(t.split(rows.size) for t in (q, k, v)), strict=True))

    def picture_of(index):
        keys, values = (t[:, :, sequence.picture].transpose(1, 2).flatten(2) for t in blocks[index][1:])
        return keys, values

    given = run.shared_keys(sequence.key, rows, picture_of, sequence.grid)
    if not any(given):
        return None
    whole = attend(q, k, v, mask).split(rows.size) if is_others else None
    parts = []
    for index, (block, extra) in enumerate(zip(blocks, given, strict=True)):
        of_block = mask if mask is None or mask.ndim < 3 or len(mask) != len(q) else mask.split(rows.size)[index]
        if extra is not None:
            bias = (
                _halving(sequence, k, extra, run.halved) if run.halves else run.bias(sequence.grid, rows.places[index])
            )
            other = None if whole is None else whole[index]
            parts.append(_with_extra(sequence, block, extra, bias, run.style, of_block, attend, other))
        else:
            parts.append(attend(*block, of_block) if whole is None else whole[index])
    return torch.cat(parts)


def _halving(sequence, k, extra: Given, known):
    """A bias [1,N+E] on all keys, by which the picture's and as many of its twin's count as the picture's alone did."""
    key = sequence.text, sequence.grid, k.shape[2], k.device, k.dtype
    if key not in known:
        bias = k.new_full((1, k.shape[2]), math.log(2))
        bias[:, sequence.picture] = 0
        known[key] = F.pad(bias, (0, extra[0].shape[1]))
    return known[key]


def _with_extra(sequence, block, extra: Given, bias, style, mask, attend, whole):
    """Attention [b,N,C] of one block of rows; `whole` [b,N,C] is what it was without the extra keys, if known."""
    q, k, v = block
    at, behind = sequence.picture, slice(sequence.picture.stop, None)
    k_extra, v_extra = (t.unflatten(-1, (q.shape[1], -1)).transpose(1, 2) for t in extra)
    seen_k, seen_v = k, v
    if style:
        moved = toward_mean_rotated(k[:, :, at], k_extra, style, sequence.pe[:1, :, at])
        seen_k = torch.cat([k[:, :, : at.start], moved, k[:, :, behind]], dim=2)
        own, other = v[:, :, at].flatten(0, 1), v_extra.flatten(0, 1)
        moved = toward_mean(own, other, style).view_as(v[:, :, at])
        seen_v = torch.cat([v[:, :, : at.start], moved, v[:, :, behind]], dim=2)
    of_picture = None if mask is None else mask[..., at, :]
    picture = extra_key_heads(q[:, :, at], seen_k, seen_v, k_extra, v_extra, bias, of_picture)
    if whole is None:
        rest = torch.cat([q[:, :, : at.start], q[:, :, behind]], dim=2)
        others = None if mask is None else torch.cat([mask[..., : at.start, :], mask[..., behind, :]], dim=-2)
        outer = attend(rest, k, v, others)
        return torch.cat([outer[:, : at.start], picture, outer[:, at.start :]], dim=1)
    return torch.cat([whole[:, : at.start], picture, whole[:, behind]], dim=1)


def read_words(sequence: Sequence, q: torch.Tensor, k: torch.Tensor, options: dict, run: Any):
    """Hand the running cure maps of its prompt's words: where rows without identity look at them.

    q, k [B,heads,N,D]. `run.says_words(uuid)`: whether the conditioning of that name is the prompt. `run.words` knows
    which tokens count (where.Words). `run.add_maps(maps, size, place)` gets maps [B,A,N] of size[0] x size[1] tokens.
    """
    rows = rows_of(options, q.shape[0])
    if not sequence.is_in(q) or rows.places is None:
        return
    select = run.words.select(q)
    for index in rows.conditional(without_identity=True):
        place = rows.places[index]
        if place.tile is None and run.says_words(rows.uuids[index]) and len(select) <= sequence.text:
            block = slice(index * rows.size, (index + 1) * rows.size)
            maps = joint_maps(q[block, :, sequence.picture], k[block], select)
            run.add_maps(maps, sequence.grid, place)
