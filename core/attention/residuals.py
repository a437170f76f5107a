"""What an adapter adds at one attention site, as small modules that hold keys and values computed once per run.

Every site is called as `site(q, text, kinds, heads)`: q [B,N,C] are the queries of the site, `text` [B,N,C] what the
attention to the prompt gave, `kinds` 0 (conditional) or 1 per chunk of the batch. It returns what is added, [B,N,C].
Everything is linear in V, so `scaled` puts the adapter's weight there.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .decoupled import chunks_of, identity_residual

_OF_FACE = 5  # PuLID's tokens that come first and of the face vector


def banked(pair: torch.Tensor) -> nn.Parameter:
    """[2,T,C] nobody's, the person's -> [3,T,C] with nobody's once more, as `chunks_of` wants it; [1,T,C] stays."""
    return nn.Parameter(torch.cat([pair, pair[:-1]]), requires_grad=False)


class Attend(nn.Module):
    """Decoupled cross-attention (IP-Adapter, Ye et al. 2023, equation 5): attention of the site's queries to k, v."""

    def __init__(self, k: torch.Tensor, v: torch.Tensor):
        super().__init__()
        self.k, self.v = banked(k), banked(v)

    def scaled(self, factor: float) -> "Attend":
        """The same site with `factor` on all that it adds; changes and returns itself."""
        self.v.data = self.v.data * factor
        return self

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        return identity_residual(q, *self.chunks(q, kinds), heads)

    def chunks(self, q: torch.Tensor, kinds: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of each chunk, on the device and in the precision of q."""
        return chunks_of(self.k, kinds).to(q), chunks_of(self.v, kinds).to(q)


class AttendFromText(Attend):
    """The same with queries of its own, made of what the attention to the prompt gave (W+ adapter, Li et al. 2024).

    query: weight [C,C] of the layer that makes them; copied, since a bank changes the precision of what it holds.
    """

    def __init__(self, k: torch.Tensor, v: torch.Tensor, query: torch.Tensor):
        super().__init__(k, v)
        self.query = nn.Parameter(query.detach().clone(), requires_grad=False)

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        return super().forward(F.linear(text, self.query.to(text)), text, kinds, heads)


class Routed(nn.Module):
    """A site of a person who may be one of several: what it adds, and the key by which image tokens choose the person.

    `site` is any of the others here; key [2,1,C]: nobody's, the person's.
    """

    def __init__(self, site: Attend, key: torch.Tensor):
        super().__init__()
        self.site, self.key = site, banked(key)

    def scaled(self, factor: float) -> "Routed":
        """The same site with `factor` on all that it adds; changes and returns itself."""
        self.site.scaled(factor)
        return self

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        return self.site(q, text, kinds, heads)

    def score(self, queries: torch.Tensor, kinds: Sequence[int]) -> torch.Tensor:
        """How much image tokens are this person's: router's queries [B,N,C] -> [B,N,1]."""
        key = chunks_of(self.key, kinds).to(queries)
        return (queries.unflatten(0, (len(kinds), -1)).flatten(1, 2) @ key.transpose(1, 2)).view(*queries.shape[:2], 1)


class ZeroPadded(Attend):
    """PuLID's site (Guo et al. 2024): attention of the site's queries to k, v and to `zeros` tokens of zeros.

    The zeros are a place for queries to look that concerns nobody's face; id_to_k and id_to_v have no bias, so that
    their keys and values are zeros too.
    """

    def __init__(self, k: torch.Tensor, v: torch.Tensor, zeros: int = 0):
        super().__init__(*(F.pad(pair, (0, 0, 0, zeros)) for pair in (k, v)))


class Ortho(ZeroPadded):
    """PuLID's site without what lies along the text: `o - proj(o)`, published as ORTHO."""

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        added = identity_residual(q, *self.chunks(q, kinds), heads).float()
        return (added - along(added, text.float())).to(q.dtype)


class OrthoV2(ZeroPadded):
    """PuLID's site that leaves the text alone where queries don't look at the face: `o + (a - 1) proj(o)`, published
    as ORTHO_v2, with a [B,N,1] the attention to the first tokens, those of the face vector."""

    def forward(self, q: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        k, v = self.chunks(q, kinds)
        added = identity_residual(q, k, v, heads).float()
        return (added + (attention_to_first(q, k, heads) - 1) * along(added, text.float())).to(q.dtype)


def along(added: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The part of `added` [B,N,C] that lies along `text`, channel by channel with the tokens of a picture as the axis.

    Where a channel of the text is all zeros, as with ConditioningZeroOut, nothing lies along it.
    """
    length = (text * text).sum(-2, keepdim=True).clamp_min(torch.finfo(text.dtype).tiny)
    return (text * added).sum(-2, keepdim=True) / length * text


def attention_to_first(q: torch.Tensor, k: torch.Tensor, heads: int) -> torch.Tensor:
    """How much each query of q [B,N,C] looks at the first tokens of k [chunks,T,C], the mean of the heads -> [B,N,1].

    Without attention's scale 1/sqrt(d), as PuLID was published.
    """
    queries, keys = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q.reshape(k.shape[0], -1, q.shape[-1]), k))
    shares = (queries @ keys.transpose(-2, -1)).softmax(-1, dtype=torch.float32)
    return shares[..., :_OF_FACE].sum(-1).mean(1).reshape(*q.shape[:2], 1)
