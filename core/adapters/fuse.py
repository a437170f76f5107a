"""The module that fuses identity tokens into words of the prompt, as PhotoMaker (Li et al. 2024, equation 1) has it."""

import torch
from torch import nn
from torch.nn import functional as F

from ..layer_types import Device, Dtype, Operations


class _MLP(nn.Module):
    def __init__(self, width, hidden, device=None, dtype=None, operations=nn):
        super().__init__()
        self.layernorm = operations.LayerNorm(width, device=device, dtype=dtype)
        self.fc1 = operations.Linear(width, hidden, device=device, dtype=dtype)
        self.fc2 = operations.Linear(hidden, hidden, device=device, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(self.layernorm(x))))


class FuseModule(nn.Module):
    """Words [...,D] and an identity token for each [...,D] -> the words that take their place [...,D]."""

    def __init__(self, width: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place = {"device": device, "dtype": dtype, "operations": operations}
        self.mlp1, self.mlp2 = _MLP(2 * width, width, **place), _MLP(width, width, **place)
        self.layer_norm = operations.LayerNorm(width, device=device, dtype=dtype)

    def forward(self, words: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        words = words + self.mlp1(torch.cat([words, tokens], -1))
        return self.layer_norm(words + self.mlp2(words))
