"""TransFace (Dan et al. 2023): a vision transformer that describes a face patch by patch, as FaceChain-FACT takes it.

Reads `ms1mv2_model_TransFace_S.pt` and its larger kin. What is kept are the 144 patches behind the last normalisation;
the head that makes one vector of them (`senet`, `feature`) and what only training needs (`mask_token`) are left out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, LayerArgs, Operations
from ...weights import WeightsError, fill, fitting, unwrapped

CHIP_SIZE, PATCH, PATCHES = 112, 9, 144
_HEADS = 8  # of every published size
_KIND, _ANCHOR = "a TransFace state dict", "senet.0.weight"
_UNUSED = ("senet.", "feature.", "mask_token")


class Attention(nn.Module):
    """Self-attention of patches [N, P, dim]."""

    def __init__(self, dim: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.qkv = operations.Linear(dim, 3 * dim, bias=False, device=device, dtype=dtype)
        self.proj = operations.Linear(dim, dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.fc1 = operations.Linear(dim, hidden, device=device, dtype=dtype)
        self.fc2 = operations.Linear(hidden, dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu6(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim: int, hidden: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.norm1 = operations.LayerNorm(dim, **place)
        self.attn = Attention(dim, operations=operations, **place)
        self.norm2 = operations.LayerNorm(dim, **place)
        self.mlp = Mlp(dim, hidden, operations=operations, **place)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransFace(nn.Module):
    """Chips [N, 3, 112, 112] RGB in 0..1, aligned to ARCFACE_TEMPLATE -> patches [N, 144 * dim] float32, row by row.

    Parameter names are the checkpoint's.
    """

    def __init__(
        self, dim: int, hidden: int, depth: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.patch_embed = nn.ModuleDict({"proj": operations.Conv2d(3, dim, PATCH, PATCH, **place)})
        self.pos_embed = nn.Parameter(torch.zeros(1, PATCHES, dim, **place))
        self.blocks = nn.Sequential(*(Block(dim, hidden, operations=operations, **place) for _ in range(depth)))
        self.norm = operations.LayerNorm(dim, **place)

    def forward(self, chips: Tensor) -> Tensor:
        x = (chips * 2 - 1).to(self.norm.weight.dtype)
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(x + self.pos_embed.to(x))).flatten(1).float()


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are a state dict of TransFace's, whole or not."""
    return bool(unwrapped(tensors, _ANCHOR))


def load_transface(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> TransFace:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    `name` is the file's, for the message. Raises WeightsError with one sentence for tensors that are incomplete or of
    odd shapes.
    """
    with fitting(name):
        published = {key: tensor for key, tensor in unwrapped(tensors, _ANCHOR).items() if not key.startswith(_UNUSED)}
        wide = published["blocks.0.mlp.fc1.weight"].shape
        hidden, dim = wide[0], wide[1]
        if not dim or dim % _HEADS:
            raise WeightsError(f"{name} has patches of {dim} numbers, which no TransFace has; fetch it again.")
        depth = len({key.split(".")[1] for key in published if key.startswith("blocks.")})
        network = TransFace(dim, hidden, depth, device, dtype or torch.float32, operations)
        fill(network, published, name, _KIND)
    return network.eval().requires_grad_(False)
