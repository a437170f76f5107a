"""CLIP's vision tower (Radford et al. 2021) under the names of Hugging Face's CLIPVisionModel, and the pixels it takes.

Layers are pre-norm; the MLP's activation is `x * sigmoid(1.702 x)`, OpenAI's stand-in for GELU.
"""

import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layer_types import Device, Dtype, LayerArgs, Operations
from .encoder_layer import Layer

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's, RGB in 0..1
_DIM_HEAD, _EPS = 64, 1e-5
_LAYER = re.compile(r"encoder\.layers\.(\d{1,3})\.")


def clip_pixels(image: Tensor, size: int) -> Tensor:
    """Pictures [N,3,H,W], RGB in 0..1, as CLIPImageProcessor makes them: [N,3,size,size], normalised."""
    image = clip_square(image, size)
    mean, deviation = (image.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return (image - mean) / deviation


def clip_square(image: Tensor, size: int) -> Tensor:
    """The same before they are normalised: [N,3,size,size] in 0..1.

    The shorter side becomes `size`, bicubic as Pillow does it; the middle is kept; colours are whole 8-bit steps.
    """
    height, width = image.shape[-2:]
    short = min(height, width)
    # the longer side is cut to whole pixels, not rounded; Pillow rounds the colours after each of its two passes
    for sides in ((height, size * width // short), (size * height // short, size * width // short)):
        if sides != tuple(image.shape[-2:]):
            image = F.interpolate(_eight_bit(image), sides, mode="bicubic", antialias=True)
    top, left = (image.shape[-2] - size) // 2, (image.shape[-1] - size) // 2
    return _eight_bit(image[..., top : top + size, left : left + size])


def _eight_bit(image):
    return (image * 255).round().clamp(0, 255) / 255


def _activation(x):
    return x * torch.sigmoid(1.702 * x)


class _Embeddings(nn.Module):
    def __init__(self, width, patch, positions, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.class_embedding = nn.Parameter(torch.zeros(width, **place))
        self.patch_embedding = operations.Conv2d(3, width, patch, stride=patch, bias=False, **place)
        self.position_embedding = operations.Embedding(positions, width, **place)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.to(patches).expand(len(patches), 1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight.to(patches)


class ClipTower(nn.Module):
    """Pixels [N,3,S,S] -> every patch's last hidden state [N,1+P,width], the whole picture's first; `size` is S."""

    def __init__(
        self, tensors: Mapping[str, Tensor], device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        """`tensors`: the tower's own, by whose shapes it is built; KeyError or RuntimeError if they can't be one's."""
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        kernel = tensors["embeddings.patch_embedding.weight"]
        if kernel.ndim != 4:
            raise RuntimeError(f"a kernel of shape {list(kernel.shape)} looks at no picture")
        width, patch = kernel.shape[0], kernel.shape[-1]
        positions = tensors["embeddings.position_embedding.weight"].shape[0]
        inner = tensors["encoder.layers.0.mlp.fc1.weight"].shape[0]
        side = math.isqrt(max(0, positions - 1))
        if not width or width % _DIM_HEAD or side < 1 or side**2 != positions - 1:
            raise RuntimeError(f"a vision tower of width {width} with {positions} positions is none of CLIP's")
        depth = 1 + max(int(match[1]) for key in tensors if (match := _LAYER.match(key)))
        self.size = side * patch
        self.embeddings = _Embeddings(width, patch, positions, operations=operations, **place)
        self.pre_layrnorm = operations.LayerNorm(width, **place)  # the published spelling
        layers = nn.ModuleList(
            Layer(width, inner, _DIM_HEAD, _activation, _EPS, operations=operations, **place) for _ in range(depth)
        )
        self.encoder = nn.ModuleDict({"layers": layers})
        self.post_layernorm = operations.LayerNorm(width, **place)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pre_layrnorm(self.embeddings(pixels))
        for layer in self.encoder["layers"].children():
            x = layer(x)
        return x

    def pooled(self, hidden: Tensor) -> Tensor:
        """Last hidden states [N,1+P,width] -> the whole picture's, normalised [N,width]."""
        return self.post_layernorm(hidden[:, 0])
