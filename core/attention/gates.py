"""Gated self-attention before the cross-attention, as GLIGEN has it (Li et al. 2023) and FaceChain-FACT uses it.

A gate works on what goes into a block's cross-attention, before its normalisation, and is called like the sites of
attention.residuals: `gate(x, x, kinds, heads)` returns what is added to x [B,N,C]. With its own layers

    x1 = x + w tanh(a) * to_out(attention(to_q(n), [to_k(n), k], [to_v(n), v])),  n = norm1(x)
    x2 = x1 + w tanh(b) * ff(norm2(x1))

and k, v of the face's tokens, whose normalisation and layers do not depend on x: they are computed once per run.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..layer_types import Device, Dtype, LayerArgs, Operations
from .decoupled import chunks_of
from .residuals import banked


class FeedForward(nn.Module):
    """Gated linear units (GEGLU, Shazeer 2020), [B,N,C] -> [B,N,C]; parameter names are the checkpoint's."""

    def __init__(
        self, width: int, hidden: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        into = nn.ModuleDict({"proj": operations.Linear(width, 2 * hidden, device=device, dtype=dtype)})
        self.net = nn.ModuleDict({"0": into, "2": operations.Linear(hidden, width, device=device, dtype=dtype)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, gate = self.net.get_submodule("0.proj")(x).chunk(2, dim=-1)
        return self.net["2"](x * F.gelu(gate))


class SelfAttention(nn.Module):
    """The layers of an attention; parameter names are the checkpoint's."""

    def __init__(self, width: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.to_q, self.to_k, self.to_v = (operations.Linear(width, width, bias=False, **place) for _ in range(3))
        self.to_out = nn.ModuleList([operations.Linear(width, width, **place)])

    def forward(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
        """x [B,N,C] looks at itself and at k, v [B,T,C]; returns [B,N,C]."""
        parts = self.to_q(x), torch.cat([self.to_k(x), k], 1), torch.cat([self.to_v(x), v], 1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        return self.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class GateLayers(nn.Module):
    """The layers of one gate; parameter names are the checkpoint's."""

    def __init__(
        self, token_dim: int, width: int, hidden: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.linear = operations.Linear(token_dim, width, **place)
        self.attn = SelfAttention(width, operations=operations, **place)
        self.ff = FeedForward(width, hidden, operations=operations, **place)
        self.norm1, self.norm2 = (operations.LayerNorm(width, **place) for _ in range(2))
        self.alpha_attn, self.alpha_dense = (nn.Parameter(torch.zeros((), **place)) for _ in range(2))

    def face(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [B,T,C] of face tokens [B,T,token_dim]."""
        face = self.norm1(self.linear(tokens))
        return self.attn.to_k(face), self.attn.to_v(face)

    def forward(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, weight: float) -> torch.Tensor:
        """What the gate adds to x [B,N,C], given K and V [B,T,C] of the face."""
        first, second = ((alpha.float().tanh() * weight).to(x) for alpha in (self.alpha_attn, self.alpha_dense))
        attended = first * self.attn(self.norm1(x), k, v, heads)
        return attended + second * self.ff(self.norm2(x + attended))


class Gate(nn.Module):
    """One gate with one person's keys and values [2,T,C]: nobody's, the person's.

    `layers` stay the adapter's, whose ModelPatcher loads them: they are no part of this module, nor of the bank that
    holds it.
    """

    def __init__(self, layers: GateLayers, k: torch.Tensor, v: torch.Tensor):
        super().__init__()
        self.k, self.v, self.weight = banked(k), banked(v), 1.0
        self._layers = (layers,)  # in a tuple, which hides them from nn.Module

    def scaled(self, factor: float) -> "Gate":
        """The same gate with `factor` on both of its residuals; changes and returns itself."""
        self.weight *= factor
        return self

    def forward(self, x: torch.Tensor, text: torch.Tensor, kinds: Sequence[int], heads: int) -> torch.Tensor:
        pictures = x.shape[0] // len(kinds)
        k, v = (chunks_of(bank, kinds).to(x).repeat_interleave(pictures, 0) for bank in (self.k, self.v))
        return self._layers[0](x, k, v, heads, self.weight)
