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
from .decoupled import chunks_of, identity_residual
from .residuals import Attend, banked

_EPS = 1e-5  # of InstantX's norm

AFTER, INSIDE, ASIDE = "after", "inside", "aside"


class Inside(Attend):
    """Decoupled attention in the block's own, whose projection and gate it goes through."""

    where = INSIDE


class InsideNormed(Inside):
    """The same with keys and values of root mean square 1 in each head (InstantX's IP-Adapter).

    How many heads there are the model says, and no file: `settle` has to be called before the site is.
    """

    def __init__(self, k: torch.Tensor, v: torch.Tensor):
        super().__init__(k, v)
        self._factor = 1.0

    def scaled(self, factor: float) -> "InsideNormed":
        """The same site with `factor` on all that it adds; changes and returns itself."""
        self._factor *= factor
        return self

    def settle(self, heads: int):
        """Normalise what is kept, once; the weight, which this would undo in V, comes after it."""
        self.k.data, self.v.data = _normed(self.k, heads), _normed(self.v, heads) * self._factor


def _normed(side, heads):
    parts = side.data.float().unflatten(-1, (heads, -1))
    return F.rms_norm(parts, parts.shape[-1:], eps=_EPS).flatten(-2).to(side)


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
        return self.to_out(identity_residual(self.to_q(self.norm2(x)), k, v, self.heads, bias))


class LookAfter(nn.Module):
    """One person's keys and values for the cross-attentions of one block, computed once.

    `looks`: for each cross-attention its layers, and K and V [1 or 2,T,inner], see `banked`. The layers stay
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
        return _sum(_looked(layers, [(k, v)], q, kinds) for layers, k, v in self.looks)

    @property
    def looks(self) -> list[tuple[CrossAttention, torch.Tensor, torch.Tensor]]:
        """Layers, K and V as banked of each cross-attention."""
        return list(zip(self.layers, self.k, self.v, strict=True))


def added_together(
    sites: Sequence[nn.Module], q: torch.Tensor, kinds: Sequence[int], masks: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """What several adapters or people add after a block to q [B,N,C], each under its mask [B,N,1], in any order."""
    added: list[torch.Tensor] = []
    together: dict[CrossAttention, list[tuple]] = {}
    for site, mask in zip(sites, masks, strict=True):
        if isinstance(site, LookAfter) and site.shared:
            for layers, k, v in site.looks:
                together.setdefault(layers, []).append((k, v, mask))
        else:
            added.append(_masked(site(q, q, kinds, 0), mask))
    return _sum([*added, *(_among(layers, people, q, kinds) for layers, people in together.items())])


def _among(layers, people, q, kinds):
    """People [(K, V, mask)] in one attention: each picture token looks at the tokens of all whose masks let it, where
    none does at nothing, as WithAnyone's authors have it with boxes. A soft mask lowers the odds of a person's tokens
    against the others', and what is added goes down with the highest of them."""
    sides, masks = [person[:2] for person in people], [mask for *_, mask in people]
    if len(people) == 1:
        return _masked(_looked(layers, sides, q, kinds), masks[0])
    if all(mask is None for mask in masks):
        return _looked(layers, sides, q, kinds)
    shares = torch.cat([torch.ones_like(q[..., :1]) if mask is None else mask.to(q) for mask in masks], dim=-1)
    most = shares.amax(-1, keepdim=True)
    shares = torch.where(most > 0, shares / most.clamp_min(torch.finfo(q.dtype).tiny), 1)
    return _looked(layers, sides, q, kinds, shares.log()) * most


def _looked(layers, people, q, kinds, bias=None):
    """`people` [(K, V)]; `bias` [B,N,P] is on the logits of each person's tokens."""
    sides = [tuple(chunks_of(side, kinds).to(q) for side in person) for person in people]
    k, v = sides[0] if len(people) == 1 else (torch.cat(side, dim=1) for side in zip(*sides, strict=True))
    if bias is not None:
        bias = bias.reshape(len(k), -1, len(people))
        each = [bias[..., i : i + 1].expand(-1, -1, keys.shape[1]) for i, (keys, _) in enumerate(sides)]
        bias = torch.cat(each, dim=-1)
    return layers(q, k, v, bias)


def _masked(added, mask):
    return added if mask is None else added * mask


def _sum(added):
    first, *rest = added
    return sum(rest, start=first)
