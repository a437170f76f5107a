"""Plain IP-Adapter (Ye et al. 2023): a picture as tokens, no face vector. Basic, Plus (also Plus Face) and Full Face.

Basic: one linear layer over CLIP's embedding of the whole picture. Plus: a Resampler over the patches. Full: an MLP on
each of the 257 patches. Keys: `image_proj.*` and `ip_adapter.{n}.to_k_ip|to_v_ip.weight`.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..layer_types import Device, Dtype, Operations
from .bases import SD15, SDXL
from .family import DEFAULTS, Choices, FaceInput
from .ip_layout import SiteAdapter, site_widths
from .resampler import Resampler, resampler_of
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

# Width of what goes in -> the vision model that it comes from.
_EMBEDDINGS = {1024: "clip-h", 1280: "clip-g"}
_PATCHES = {1280: "clip-h", 1664: "clip-g", 1024: "clip-l"}
_PICTURES = 8
_PLUS, _FULL, _BASIC = ("image_proj.proj_in.weight", "image_proj.proj.3.weight", "image_proj.proj.weight")
_KNOWN_PLUS = Known(
    family="image", title="IP-Adapter Plus", kind="an IP-Adapter Plus (image) adapter",
    files=(
        PublishedFile("ip-adapter-plus-face_sd15.safetensors", SD15),
        PublishedFile("ip-adapter-plus-face_sdxl_vit-h.safetensors", SDXL),
    ),
    folder="ipadapter", source="h94/IP-Adapter", licence="Apache-2.0",
)  # fmt: skip
_KNOWN_FULL = replace(
    _KNOWN_PLUS, title="IP-Adapter Full Face", kind="an IP-Adapter full-face adapter",
    files=(PublishedFile("ip-adapter-full-face_sd15.safetensors", SD15),),
)  # fmt: skip
_KNOWN_BASIC = replace(
    _KNOWN_PLUS, title="IP-Adapter basic", kind="an IP-Adapter (image) adapter",
    files=(
        PublishedFile("ip-adapter_sd15.safetensors", SD15),
        PublishedFile("ip-adapter_sdxl.safetensors", SDXL),
    ),
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are a plain IP-Adapter's, else None; KeyError names a tensor that is missing."""
    widths = site_widths(tensors)
    if not widths:
        return None
    if _FULL in tensors:
        known, tokens, token_dim = _KNOWN_FULL, 257, tensors[_FULL].shape[0]
        vision = _PATCHES.get(tensors["image_proj.proj.0.weight"].shape[-1])
    elif _PLUS in tensors and "image_proj.latents" in tensors:
        known, tokens = _KNOWN_PLUS, tensors["image_proj.latents"].shape[-2]
        token_dim = tensors["image_proj.norm_out.weight"].shape[0]
        vision = _PATCHES.get(tensors[_PLUS].shape[-1])
    elif _BASIC in tensors and "image_proj.norm.weight" in tensors:
        token_dim = tensors["image_proj.norm.weight"].shape[0]
        known, tokens = _KNOWN_BASIC, tensors[_BASIC].shape[0] // token_dim
        vision = _EMBEDDINGS.get(tensors[_BASIC].shape[-1])
    else:
        return None
    if vision is None:
        return None
    return known.spec(
        clues,
        tokens=tokens,
        token_dim=token_dim,
        site_widths=widths,
        each=_PICTURES,
        look=Look(vision, "whole", 224),
        guesses=("It takes the whole picture: connect a crop of the face, such as DetectFaces gives",),
    )


class PictureProjection(nn.Module):
    """CLIP's embeddings of whole pictures [N,P] -> tokens [N,T,token_dim]; `key` names the layer's weight."""

    def __init__(
        self, tensors: Tensors, key: str, token_dim: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        out, width = tensors[key].shape
        if not out or out % token_dim:
            raise RuntimeError(f"{out} numbers are no whole number of tokens of {token_dim}")
        self.proj = operations.Linear(width, out, device=device, dtype=dtype)
        self.norm = operations.LayerNorm(token_dim, device=device, dtype=dtype)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.norm(self.proj(pooled).unflatten(-1, (-1, self.norm.weight.shape[0])))


class _Full(nn.Module):
    def __init__(self, tensors, token_dim, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        hidden, width = tensors["image_proj.proj.0.weight"].shape
        self.proj = nn.Sequential(
            operations.Linear(width, hidden, **place),
            nn.GELU(),
            operations.Linear(hidden, token_dim, **place),
            operations.LayerNorm(token_dim, **place),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.proj(hidden)


class ImageAdapter(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "plain IP-Adapter", (_KNOWN_PLUS, _KNOWN_FULL, _KNOWN_BASIC)
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__(spec, **place)
        self.image_proj: nn.Module
        if _PLUS in tensors:
            self.image_proj = resampler_of(tensors, "image_proj.", **place)
        elif _FULL in tensors:
            self.image_proj = _Full(tensors, spec.token_dim, **place)
        else:
            self.image_proj = PictureProjection(tensors, _BASIC, spec.token_dim, **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        by_patch = isinstance(self.image_proj, Resampler | _Full)
        return self.image_proj(faces.seen.hidden[0] if by_patch else faces.seen.pooled).flatten(0, 1)[None]
