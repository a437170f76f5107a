"""SigLIP's eyes (Zhai et al. 2023), through which WithAnyone and InstantX's IP-Adapter for FLUX look.

Reads the vision half of Hugging Face's SiglipModel, with or without `vision_model.` before its keys and with or without
the text half beside it. Layers are pre-norm, with no token for the whole picture: a head that attends to all patches
makes its embedding. Pictures have the size of training here, so nothing is ever interpolated.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layer_types import Device, Dtype, LayerArgs, Operations
from ..pillow import BICUBIC, resized
from ..weights import WeightsError, fill, fitting, kind_of
from .encoder_layer import MLP, Layer, attend

_EPS = 1e-6
_LAYER = re.compile(r"encoder\.layers\.(\d{1,3})\.")
_PROBE = "head.probe"


def _dim_head(width):
    """Channels of a head, which no tensor tells: 72 in the so400m's 1152, and 64 in all others."""
    return 72 if width % 72 == 0 else 64


def _activation(x):
    return F.gelu(x, approximate="tanh")


class _Pooling(nn.Module):
    """nn.MultiheadAttention with one query, by a layer for q, k and v together, which ComfyUI can cast."""

    def __init__(self, width, device=None, dtype=None, operations=nn):
        super().__init__()
        self.dim_head = _dim_head(width)
        self.in_proj = operations.Linear(width, 3 * width, device=device, dtype=dtype)
        self.out_proj = operations.Linear(width, width, device=device, dtype=dtype)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        q, _, _ = self.in_proj(query).chunk(3, -1)
        _, k, v = self.in_proj(x).chunk(3, -1)
        return self.out_proj(attend(q, k, v, self.dim_head))


class _Head(nn.Module):
    def __init__(self, width, inner, device=None, dtype=None, operations=nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.probe = nn.Parameter(torch.zeros(1, 1, width, **place))
        self.attention = _Pooling(width, operations=operations, **place)
        self.layernorm = operations.LayerNorm(width, eps=_EPS, **place)
        self.mlp = MLP(width, inner, _activation, operations=operations, **place)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.attention(self.probe.to(x).expand(len(x), -1, -1), x)
        return (seen + self.mlp(self.layernorm(seen)))[:, 0]


class SiglipVision(nn.Module):
    """What SigLIP sees in pictures; parameter names are the file's, but for the head's `in_proj`."""

    def __init__(
        self, width: int, inner: int, patch: int, side: int, depth: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        """side: of a picture in pixels, of which what makes no whole patch is left out, 6 of the so400m's 384."""
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.side = side
        patches = operations.Conv2d(3, width, patch, patch, **place)
        positions = operations.Embedding((side // patch) ** 2, width, **place)
        self.embeddings = nn.ModuleDict({"patch_embedding": patches, "position_embedding": positions})
        layers = nn.ModuleList(
            Layer(width, inner, _dim_head(width), _activation, _EPS, operations=operations, **place)
            for _ in range(depth)
        )
        self.encoder = nn.ModuleDict({"layers": layers})
        self.post_layernorm = operations.LayerNorm(width, eps=_EPS, **place)
        self.head = _Head(width, inner, operations=operations, **place)

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """image: [N,3,H,W], RGB in 0..1, squeezed into a square as SiglipImageProcessor does it. Returns the embedding
        [N,width] that the head makes, and the last hidden state [N,patches,width], normalised, alone in a tuple."""
        return self.features((resized(image, self.side, self.side, BICUBIC) * 2 - 1).to(image))

    def features(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same for normalised pixels [N,3,side,side]."""
        x = self.embeddings["patch_embedding"](pixels).flatten(2).transpose(1, 2)
        x = x + self.embeddings["position_embedding"].weight.to(x)
        for layer in self.encoder["layers"].children():
            x = layer(x)
        x = self.post_layernorm(x)
        return self.head(x), (x,)


def load_siglip(
    tensors: Mapping[str, Tensor], width: int, side: int, name: str = "The file",
    device: Device = None, dtype: Dtype = None, operations: Operations = nn,
) -> SiglipVision:  # fmt: skip
    """The vision half that a file's flat tensors hold, in eval mode without gradients; `dtype` None keeps the file's.

    width, side: of the wanted SigLIP, in channels of a patch and pixels of a picture. `name` is the file's, for the
    message. Raises WeightsError with one sentence when the tensors are of another kind, of another SigLIP, incomplete,
    as without the head that some leave out, or of odd shapes.
    """
    prefix = next((prefix for prefix in ("vision_model.", "") if prefix + _PROBE in tensors), None)
    if prefix is None:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and no SigLIP with its head; fetch SigLIP's model.safetensors."
        )
    tower = {
        key.removeprefix(prefix).replace("attention.in_proj_", "attention.in_proj."): tensor
        for key, tensor in tensors.items()
        if key.startswith((f"{prefix}embeddings.", f"{prefix}encoder.", f"{prefix}post_layernorm.", f"{prefix}head."))
        and not key.endswith("embeddings.position_ids")  # whole numbers in order, which older files hold
    }
    with fitting(name):
        found, _, _, patch = tower["embeddings.patch_embedding.weight"].shape
        patches = tower["embeddings.position_embedding.weight"].shape[0]
        if (found, patches) != (width, (side // patch) ** 2):
            raise WeightsError(
                f"{name} is a SigLIP of {found} channels for {patches} patches of {patch} pixels, but one of {width} "
                f"channels for pictures of {side} pixels is needed; fetch the one that the adapter names."
            )
        inner = tower["encoder.layers.0.mlp.fc1.weight"].shape[0]
        depth = 1 + max(int(match[1]) for key in tower if (match := _LAYER.match(key)))
        if 2 * depth * width * inner > sum(tensor.numel() for tensor in tower.values()):
            raise RuntimeError(f"{depth} layers have more numbers than the file")
        siglip = SiglipVision(width, inner, patch, side, depth, device, dtype or tower[_PROBE].dtype, operations)
        fill(siglip, tower, name, "a SigLIP")
    return siglip.eval().requires_grad_(False)
