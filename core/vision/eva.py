"""EVA02-CLIP-L-14-336's eyes (Sun et al. 2023), through which PuLID looks: a transformer over 24 x 24 patches.

Reads the visual tower of `EVA02_CLIP_L_336_psz14_s6B.pt`, with or without `visual.` before its keys; whatever else a
file holds, as the text tower, is left alone. Pictures have 336 x 336 pixels here, so nothing is ever interpolated.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layer_types import Device, Dtype, LayerArgs, Operations
from ..weights import WeightsError, fill, fitting, kind_of

SIDE, PATCH = 336, 14  # pixels
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI CLIP's, RGB
POOLED = 768
_STATES = (4, 8, 12, 16, 20)  # blocks whose inputs are given out
_GRID, _PRETRAINED_GRID = SIDE // PATCH, 16  # patches on a side, here and in the first training
_DIM_HEAD, _EPS = 64, 1e-6
_BLOCK = re.compile(r"blocks\.(\d{1,3})\.")
_PUBLISHED = "QuanSun/EVA-CLIP's EVA02_CLIP_L_336_psz14_s6B.pt"
_MARK = "blocks.0.attn.inner_attn_ln.weight"


def rotary(dim: int, device: Device = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines [576,dim] that turn pairs of numbers by the place of a patch: down in the first half, across
    in the second (Su et al. 2021), with places counted as in the grid of the first training."""
    frequencies = 10000.0 ** (-torch.arange(0, dim // 2, 2, device=device, dtype=torch.float32) / (dim // 2))
    place = torch.arange(_GRID, device=device, dtype=torch.float32) / _GRID * _PRETRAINED_GRID
    angles = (place[:, None] * frequencies).repeat_interleave(2, -1)
    angles = torch.cat(torch.broadcast_tensors(angles[:, None], angles[None]), -1).flatten(0, 1)
    return angles.cos(), angles.sin()


class _Attention(nn.Module):
    def __init__(self, width, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.q_proj = operations.Linear(width, width, **place)
        self.k_proj = operations.Linear(width, width, bias=False, **place)
        self.v_proj = operations.Linear(width, width, **place)
        self.inner_attn_ln = operations.LayerNorm(width, eps=_EPS, **place)
        self.proj = operations.Linear(width, width, **place)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, _DIM_HEAD)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(_turned(q, cos, sin), _turned(k, cos, sin), v)
        return self.proj(self.inner_attn_ln(out.transpose(1, 2).flatten(2)))


def _turned(heads, cos, sin):
    """Queries or keys [N,heads,577,64] turned by their places, the class token left as it is."""
    patches = heads[:, :, 1:]
    first, second = patches.unflatten(-1, (-1, 2)).unbind(-1)
    across = torch.stack([-second, first], -1).flatten(-2)
    return torch.cat([heads[:, :, :1], patches * cos + across * sin], dim=2)


class _SwiGLU(nn.Module):
    def __init__(self, width, hidden, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.w1 = operations.Linear(width, hidden, **place)
        self.w2 = operations.Linear(width, hidden, **place)
        self.ffn_ln = operations.LayerNorm(hidden, eps=_EPS, **place)
        self.w3 = operations.Linear(hidden, width, **place)

    def forward(self, x: Tensor) -> Tensor:
        return self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))


class _Block(nn.Module):
    def __init__(self, width, hidden, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.norm1 = operations.LayerNorm(width, eps=_EPS, **place)
        self.attn = _Attention(width, operations=operations, **place)
        self.norm2 = operations.LayerNorm(width, eps=_EPS, **place)
        self.mlp = _SwiGLU(width, hidden, operations=operations, **place)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


class EVAVision(nn.Module):
    """What EVA-CLIP sees in pictures of a face; parameter names are the file's, but for the biases of q and v."""

    def __init__(
        self, width: int, hidden: int, depth: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width, **place))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + _GRID**2, width, **place))
        self.patch_embed = nn.ModuleDict({"proj": operations.Conv2d(3, width, PATCH, PATCH, **place)})
        self.blocks = nn.ModuleList(_Block(width, hidden, operations=operations, **place) for _ in range(depth))
        self.norm = operations.LayerNorm(width, eps=_EPS, **place)
        self.head = operations.Linear(width, POOLED, **place)
        for name, values in zip(("cos", "sin"), rotary(_DIM_HEAD, device), strict=True):
            self.register_buffer(name, values, persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """image: [N,3,H,W] square, RGB in 0..1. Returns the embedding [N,768], as the head gives it, and the hidden
        states [N,577,width] that go into blocks 4, 8, 12, 16 and 20."""
        image = F.interpolate(image, (SIDE, SIDE), mode="bicubic", antialias=True)
        mean, deviation = (image.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return self.features((image - mean) / deviation)

    def features(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same for normalised pixels [N,3,336,336]."""
        x = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.to(x).expand(len(x), -1, -1), x], dim=1) + self.pos_embed.to(x)
        cos, sin, states = self.cos.to(x), self.sin.to(x), []
        for number, block in enumerate(self.blocks):
            if number in _STATES:
                states.append(x)
            x = block(x, cos, sin)
        return self.head(self.norm(x[:, 0])), tuple(states)


def load_eva(
    tensors: Mapping[str, Tensor], name: str = "The file",
    device: Device = None, dtype: Dtype = None, operations: Operations = nn,
) -> EVAVision:  # fmt: skip
    """The visual tower that a file's flat tensors hold, in eval mode without gradients; `dtype` None keeps the file's.

    `name` is the file's, for the message. Raises WeightsError with one sentence when the tensors are of another kind,
    of an EVA-CLIP for other pictures, incomplete or of odd shapes.
    """
    prefix = next((prefix for prefix in ("visual.", "") if prefix + _MARK in tensors), None)
    if prefix is None:
        raise WeightsError(f"{name} is {kind_of(tensors)}, and no EVA-CLIP; fetch {_PUBLISHED}.")
    tower = {
        re.sub(r"attn\.([qv])_bias$", r"attn.\1_proj.bias", key.removeprefix(prefix)): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix) and "rope." not in key  # computed here; files hold a copy for each block
    }
    with fitting(name):
        positions, pooled = tower["pos_embed"].shape[1], tower["head.weight"].shape[0]
        if (positions, pooled) != (1 + _GRID**2, POOLED):
            raise WeightsError(
                f"{name} is an EVA-CLIP with {positions} positions and embeddings of {pooled} numbers, but "
                f"{1 + _GRID**2} and {POOLED} are needed; fetch {_PUBLISHED}."
            )
        hidden, width = (tower["blocks.0.mlp.w1.weight"].shape[axis] for axis in (0, -1))
        depth = 1 + max(int(match[1]) for key in tower if (match := _BLOCK.match(key)))
        if width % _DIM_HEAD or depth <= _STATES[-1]:
            raise RuntimeError(f"{width} channels are no multiple of {_DIM_HEAD}, or {depth} blocks too few")
        eva = EVAVision(width, hidden, depth, device, dtype or tower["head.weight"].dtype, operations)
        fill(eva, tower, name, "an EVA-CLIP", f"fetch {_PUBLISHED}")
    return eva.eval().requires_grad_(False)
