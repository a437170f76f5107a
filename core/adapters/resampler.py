"""The perceiver resampler that identity adapters share (Flamingo, Alayrac et al. 2022; as IP-Adapter Plus uses it)."""

import re
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..layer_types import Device, Dtype, Operations
from .spec import Tensors


def feed_forward(
    dim: int, multiplier: int = 4, device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> nn.Sequential:
    """LayerNorm, Linear, GELU, Linear; the indices 0, 1 and 3 are the published keys."""
    return nn.Sequential(
        operations.LayerNorm(dim, device=device, dtype=dtype),
        operations.Linear(dim, dim * multiplier, bias=False, device=device, dtype=dtype),
        nn.GELU(),
        operations.Linear(dim * multiplier, dim, bias=False, device=device, dtype=dtype),
    )


class PerceiverAttention(nn.Module):
    """Queries [B,Q,dim] look at the input [B,S,dim] and at themselves."""

    def __init__(
        self, dim: int, inner: int, dim_head: int = 64,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self.heads = inner // dim_head
        self.norm1 = operations.LayerNorm(dim, device=device, dtype=dtype)
        self.norm2 = operations.LayerNorm(dim, device=device, dtype=dtype)
        self.to_q = operations.Linear(dim, inner, bias=False, device=device, dtype=dtype)
        self.to_kv = operations.Linear(dim, inner * 2, bias=False, device=device, dtype=dtype)
        self.to_out = operations.Linear(inner, dim, bias=False, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        x, latents = self.norm1(x), self.norm2(latents)
        q = self._split(self.to_q(latents))
        k, v = (self._split(t) for t in self.to_kv(torch.cat([x, latents], dim=1)).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))

    def _split(self, t):
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def perceiver_layers(dim: int, inner: int, depth: int, dim_head: int = 64, **place: Any) -> nn.ModuleList:
    """`depth` pairs of PerceiverAttention and feed_forward, for `refine`."""
    return nn.ModuleList(
        nn.ModuleList([PerceiverAttention(dim, inner, dim_head, **place), feed_forward(dim, **place)])
        for _ in range(depth)
    )


def refine(layers: Iterable[nn.Module], x: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Queries [B,Q,dim] after they have looked at x [B,S,dim] in every layer."""
    for layer in layers:
        attention, mlp = layer.children()
        latents = attention(x, latents) + latents
        latents = mlp(latents) + latents
    return latents


class Resampler(nn.Module):
    """Turns S vectors [B,S,embedding_dim] into Q tokens [B,Q,output_dim] by learned queries."""

    def __init__(
        self, dim: int, inner: int, depth: int, queries: int, embedding_dim: int, output_dim: int, dim_head: int = 64,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place = {"device": device, "dtype": dtype, "operations": operations}
        self.latents = nn.Parameter(torch.zeros(1, queries, dim, device=device, dtype=dtype))
        self.proj_in = operations.Linear(embedding_dim, dim, device=device, dtype=dtype)
        self.layers = perceiver_layers(dim, inner, depth, dim_head, **place)
        self.proj_out = operations.Linear(dim, output_dim, device=device, dtype=dtype)
        self.norm_out = operations.LayerNorm(output_dim, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj_in(x)
        latents = self.latents.to(x).expand(x.shape[0], -1, -1)
        return self.norm_out(self.proj_out(refine(self.layers, x, latents)))


def resampler_of(
    tensors: Tensors, prefix: str, dim_head: int = 64, kind: type[Resampler] = Resampler, **place: Any
) -> Resampler:
    """A Resampler, or another `kind` of one, of the sizes that a checkpoint's tensors have under `prefix`; KeyError or
    RuntimeError if they can't be one's."""
    latents = tensors[f"{prefix}latents"]
    if latents.ndim != 3:
        raise RuntimeError(f"latents of shape {list(latents.shape)} are no queries")
    _, queries, dim = latents.shape
    inner = tensors[f"{prefix}layers.0.0.to_q.weight"].shape[0]
    if not inner or inner % dim_head:
        raise RuntimeError(f"attention width {inner} is no multiple of {dim_head}")
    layer = re.compile(rf"{re.escape(prefix)}layers\.(\d{{1,2}})\.")
    depth = 1 + max(int(match[1]) for key in tensors if (match := layer.match(key)))
    embedding_dim = tensors[f"{prefix}proj_in.weight"].shape[-1]
    output_dim = tensors[f"{prefix}proj_out.weight"].shape[0]
    return kind(dim, inner, depth, queries, embedding_dim, output_dim, dim_head, **place)
