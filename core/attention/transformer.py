"""What an adapter adds in a transformer whose attentions see prompt and picture together, as FLUX's blocks do.

Called like the sites of attention.residuals, `site(q, text, kinds, heads)`, with what `where` says: the picture's
tokens after a block (AFTER), or the attention's queries, normalised and not rotated, for what is added to the
attention's output before its projection (INSIDE) or to the picture after the whole block (ASIDE). All is linear in V.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..layer_types import Device, Dtype, LayerArgs, Operations
from .decoupled import chunks_of
from .residuals import Attend, banked

AFTER, INSIDE, ASIDE = "after", "inside", "aside"


class Inside(Attend):
    """Decoupled attention in the block's own, whose projection and gate it goes through (InstantX's IP-Adapter)."""

    where = INSIDE


class Aside(Attend):
    """Decoupled attention by the block's queries, added to the picture after the block (XLabs' IP-Adapter)."""

    where = ASIDE


class CrossAttention(nn.Module):
    """The layers by which a picture's tokens look at a face's; parameter names are the checkpoint's.

    PuLID's `PerceiverAttentionCA` (Guo et al. 2024) and WithAnyone's: `norm1` is of the face, `norm2` of the picture.
    """

    def __init__(
        self, width: int, token_dim: int, inner: int, dim_head: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.heads = inner // dim_head
        self.norm1 = operations.LayerNorm(token_dim, **place)
        self.norm2 = operations.LayerNorm(width, **place)
        self.to_q = operations.Linear(width, inner, bias=False, **place)
        self.to_kv = operations.Linear(token_dim, inner * 2, bias=False, **place)
        self.to_out = operations.Linear(inner, width, bias=False, **place)

    def face(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [B,T,inner] of face tokens [B,T,token_dim]."""
        k, v = self.to_kv(self.norm1(tokens)).chunk(2, dim=-1)
        return k, v

    def forward(
        self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """x [B,N,width] looks at k, v [chunks,T,inner], with `bias` [chunks,B*N/chunks,T] on the logits or none."""
        q = self.to_q(self.norm2(x))
        queries = q.reshape(k.shape[0], -1, q.shape[-1])
        queries, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (queries, k, v))
        mask = None if bias is None else bias.to(q.dtype).unsqueeze(1)
        out = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask)
        return self.to_out(out.transpose(1, 2).reshape(q.shape))


class LookAfter(nn.Module):
    """One person's keys and values for the cross-attentions of one block, computed once.

    `looks`: for each cross-attention its layers, and K and V [2,T,inner], nobody's and the person's. The layers stay
    the adapter's, whose ModelPatcher loads them: they are no part of this module, nor of the bank that holds it.
    `shared`: several people stand in one attention (WithAnyone), in place of one each (PuLID).
    """

    where = AFTER

    def __init__(self, looks: Sequence[tuple[CrossAttention, torch.Tensor, torch.Tensor]], shared: bool = False):
        super().__init__()
        self.k = nn.ParameterList([banked(k) for _, k, _ in looks])
        self.v = nn.ParameterList([banked(v) for _, _, v in looks])
        self.layers = tuple(layers for layers, _, _ in looks)  # in a tuple, which hides them from nn.Module
        self.shared = shared

    def scaled(self, factor: float) -> "LookAfter":
        """The same site with `factor` on all that it adds; changes and returns itself."""
        for v in self.v:
            v.data = v.data * factor
        return self

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        return _looked([self], q, kinds, None)


def added_together(
    sites: Sequence[nn.Module], q: torch.Tensor, kinds: Sequence[int], masks: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """What several adapters or people add after a block to q [B,N,C], each under its mask [B,N,1], in any order."""
    groups: dict[object, list] = {}
    for site, mask in zip(sites, masks, strict=True):
        groups.setdefault(site.layers if getattr(site, "shared", False) else site, []).append((site, mask))
    added = []
    for group in groups.values():
        people, of = zip(*group, strict=True)
        if len(people) > 1:
            added.append(_among(people, q, kinds, of))
        else:
            out = people[0](q, q, kinds, 0)
            added.append(out if of[0] is None else out * of[0])
    return sum(added[1:], start=added[0])


def _among(people, q, kinds, masks):
    """People in one attention: each picture token looks at the tokens of all whose masks let it, where none does at
    nothing, as WithAnyone's authors have it with boxes. A soft mask lowers the odds of a person's tokens against the
    others', and what is added goes down with the highest of them."""
    if all(mask is None for mask in masks):
        return _looked(people, q, kinds, None)
    shares = torch.cat([torch.ones_like(q[..., :1]) if mask is None else mask.to(q) for mask in masks], dim=-1)
    most = shares.amax(-1, keepdim=True)
    shares = torch.where(most > 0, shares / most.clamp_min(torch.finfo(q.dtype).tiny), 1)
    return _looked(people, q, kinds, shares.log().reshape(len(kinds), -1, len(people))) * most


def _looked(people, q, kinds, bias):
    """`bias` [chunks,M,P] is on the logits of each person's tokens."""
    out = None
    for index, layers in enumerate(people[0].layers):
        sides = [[chunks_of(side[index], kinds).to(q) for side in (one.k, one.v)] for one in people]
        k, v = sides[0] if len(people) == 1 else (torch.cat(side, dim=1) for side in zip(*sides, strict=True))
        spread = None
        if bias is not None:
            each = [bias[..., i : i + 1].expand(-1, -1, one.shape[1]) for i, (one, _) in enumerate(sides)]
            spread = torch.cat(each, dim=-1)
        added = layers(q, k, v, spread)
        out = added if out is None else out + added
    return out
