"""A layer of CLIP's and SigLIP's vision encoders, under the names of Hugging Face's classes."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ..layer_types import Device, Dtype, LayerArgs, Operations

Activation = Callable[[Tensor], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, dim_head: int) -> Tensor:
    """Attention of q [B,N,C] to k, v [B,M,C], with C / dim_head heads -> [B,N,C]."""
    q, k, v = (one.unflatten(-1, (-1, dim_head)).transpose(1, 2) for one in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Self-attention, [B,N,width] -> [B,N,width]."""

    def __init__(
        self, width: int, dim_head: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        self.dim_head = dim_head
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            operations.Linear(width, width, device=device, dtype=dtype) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.dim_head))


class MLP(nn.Module):
    """Two layers with an activation between them, [...,width] -> [...,width]."""

    def __init__(
        self, width: int, inner: int, activation: Activation,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self._activation = activation
        self.fc1 = operations.Linear(width, inner, device=device, dtype=dtype)
        self.fc2 = operations.Linear(inner, width, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self._activation(self.fc1(x)))


class Layer(nn.Module):
    """Pre-norm attention and MLP, [B,N,width] -> [B,N,width]."""

    def __init__(
        self, width: int, inner: int, dim_head: int, activation: Activation, eps: float,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.self_attn = Attention(width, dim_head, operations=operations, **place)
        self.mlp = MLP(width, inner, activation, operations=operations, **place)
        self.layer_norm1, self.layer_norm2 = (operations.LayerNorm(width, eps=eps, **place) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))
