"""Plain IP-Adapters for FLUX: a picture as tokens, no face vector. XLabs' first and second, and InstantX's.

XLabs: a layer over CLIP-L's embedding makes 4 or 16 tokens. In the 19 double blocks the picture's queries look at them,
and what they find is added after the block: no gate, no layer behind it. Nobody is a black picture, as in XLabs' nodes
and diffusers. Keys: `ip_adapter_proj_model.*`, `double_blocks.{n}.processor.ip_adapter_double_stream_{k,v}_proj.*`.

InstantX: two layers over SigLIP's embedding make 128 tokens. In all 57 blocks queries look at them, in single blocks
those of the prompt too, and what they find goes through the block's own projection and gate. K and V are normalised.
Its authors know no negative prompt and nothing was trained for it, so nobody adds nothing. Keys: `image_proj.*`,
`ip_adapter.{n}.to_{k,v}_ip.weight`.
"""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..attention.transformer import Aside, InsideNormed
from ..layer_types import LayerArgs
from .bases import FLUX
from .faceid import FaceProjection
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .image import PictureProjection
from .ip_layout import block_widths
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

_PROJECTION = "ip_adapter_proj_model.proj.weight"
_XLABS_SITE = re.compile(r"double_blocks\.(\d{1,4})\.processor\.ip_adapter_")
_XLABS_K = "double_blocks.{}.processor.ip_adapter_double_stream_k_proj.weight"
_INSTANTX_SITE = re.compile(r"ip_adapter\.(\d{1,4})\.to_[kv]_ip\.weight")
_EVEN = re.compile(r"ip_adapter\.\d{0,3}[02468]\.to_[kv]_ip\.weight")
_SECOND = 16  # tokens of XLabs' second
_CROP = "It takes the whole picture: connect a crop of the face, such as DetectFaces gives"

_KNOWN_XLABS = Known(
    family="image", title="XLabs IP-Adapter", kind="an IP-Adapter for FLUX by XLabs",
    files=(PublishedFile("ip_adapter.safetensors", FLUX, "ipadapter_flux_xlabs_v1"),),
    folder="xlabs/ipadapters", source="XLabs-AI/flux-ip-adapter", licence="FLUX.1 [dev] Non-Commercial License",
)  # fmt: skip
_KNOWN_XLABS_V2 = replace(
    _KNOWN_XLABS, title="XLabs IP-Adapter v2", source="XLabs-AI/flux-ip-adapter-v2",
    files=(PublishedFile("ip_adapter.safetensors", FLUX, "ipadapter_flux_xlabs_v2"),),
)  # fmt: skip
_KNOWN_INSTANTX = replace(
    _KNOWN_XLABS, title="InstantX IP-Adapter", kind="an IP-Adapter for FLUX by InstantX",
    files=(PublishedFile("ip-adapter.bin", FLUX, "ipadapter_flux_instantx"),),
    folder="ipadapter-flux", source="InstantX/FLUX.1-dev-IP-Adapter",
)  # fmt: skip


def recognise_xlabs(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are XLabs', else None; KeyError names a tensor that is missing."""
    widths = block_widths(tensors, _XLABS_SITE, _XLABS_K)
    if not widths and _PROJECTION not in tensors:
        return None
    token_dim = tensors["ip_adapter_proj_model.norm.weight"].shape[0]
    tokens = tensors[_PROJECTION].shape[0] // token_dim
    return (_KNOWN_XLABS_V2 if tokens == _SECOND else _KNOWN_XLABS).spec(
        clues,
        tokens=tokens,
        token_dim=token_dim,
        site_widths=widths,
        of=FLUX,
        places=tuple(range(FLUX.double)),
        look=Look("clip-l", "whole", 224, empty="black"),
        default_weight=0.93,  # of XLabs' node
        guesses=(_CROP,),
    )


class XLabs(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "plain IP-Adapter", (_KNOWN_XLABS, _KNOWN_XLABS_V2)
    recognise = staticmethod(recognise_xlabs)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.ip_adapter_proj_model = PictureProjection(tensors, _PROJECTION, spec.token_dim, **place)
        self.double_blocks = nn.ModuleList(_XLabsBlock(spec.token_dim, width, **place) for width in spec.site_widths)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.ip_adapter_proj_model(faces.seen.pooled).flatten(0, 1)[None]

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        return [Aside(*block(tokens)) for block in self.double_blocks]


class _XLabsBlock(nn.Module):
    def __init__(self, token_dim, width, device=None, dtype=None, operations=nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.processor = nn.ModuleDict(
            {f"ip_adapter_double_stream_{part}_proj": operations.Linear(token_dim, width, **place) for part in "kv"}
        )

    def forward(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """K and V [B,T,width] of tokens [B,T,token_dim]."""
        return [layer(tokens) for layer in self.processor.values()]


def recognise_instantx(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are InstantX's for FLUX, else None; KeyError names a tensor that is missing.

    Even numbers tell them from those of adapters for U-Nets.
    """
    if not any(map(_EVEN.match, tensors)):
        return None
    token_dim = tensors["image_proj.norm.weight"].shape[0]
    return _KNOWN_INSTANTX.spec(
        clues,
        tokens=tensors["image_proj.proj.2.weight"].shape[0] // token_dim,
        token_dim=token_dim,
        site_widths=block_widths(tensors, _INSTANTX_SITE, "ip_adapter.{}.to_k_ip.weight"),
        of=FLUX,
        places=tuple(range(len(FLUX.site_widths))),
        look=Look("siglip-so400m", "whole", 384),
        default_weight=0.75,  # of the example that comes with the node
        guesses=(_CROP,),
    )


class InstantX(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known, has_nobody = "plain IP-Adapter", (_KNOWN_INSTANTX,), False
    recognise = staticmethod(recognise_instantx)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.image_proj = FaceProjection(tensors, spec.token_dim, **place)
        self.ip_adapter = nn.ModuleList(_InstantXBlock(spec.token_dim, width, **place) for width in spec.site_widths)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        seen, dtype = faces.seen.pooled, self.image_proj.proj[2].weight.dtype
        # In single precision the second layer alone would take 4.8 GB more; its authors compute in half too.
        half = seen.to(dtype) if dtype in (torch.float16, torch.bfloat16) else seen
        return self.image_proj(half).flatten(0, 1)[None].to(seen)

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        return [InsideNormed(*block(tokens)) for block in self.ip_adapter]


class _InstantXBlock(nn.Module):
    def __init__(self, token_dim, width, device=None, dtype=None, operations=nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.to_k_ip = operations.Linear(token_dim, width, bias=False, **place)
        self.to_v_ip = operations.Linear(token_dim, width, bias=False, **place)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [B,T,width] of tokens [B,T,token_dim]."""
        return self.to_k_ip(tokens), self.to_v_ip(tokens)
