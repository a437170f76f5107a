"""IP-Adapter FaceID and its kin (Ye et al. 2023; h94/IP-Adapter-FaceID): FaceID, Plus, Plus v2 and Portrait.

One normalised ArcFace vector becomes 4 tokens (Portrait: 16 for each of up to 5 photographs). Plus lets these tokens
look at CLIP's view of the face; Plus v2 adds what they saw to them. FaceID and Plus come with a LoRA for every
attention. Keys: `image_proj.*`, `ip_adapter.{n}.to_k_ip|to_v_ip.weight`, `ip_adapter.{n}.to_{q,k,v,out}_lora.*`.
"""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..layer_types import Device, Dtype, LayerArgs, Operations
from .bases import SD15, SDXL
from .family import DEFAULTS, Choices, FaceInput
from .ip_layout import SiteAdapter, site_widths, split_lora
from .resampler import perceiver_layers, refine
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

_LAYER = re.compile(r"image_proj\.perceiver_resampler\.layers\.(\d{1,2})\.")
_DIM_HEAD = 64
_PHOTOGRAPHS = 5  # that Portrait was trained with

_FACEID = Known(
    family="faceid", title="IP-Adapter FaceID", kind="an IP-Adapter FaceID adapter",
    files=(
        PublishedFile("ip-adapter-faceid_sd15.bin", SD15, "ipa_faceid_sd15"),
        PublishedFile("ip-adapter-faceid_sdxl.bin", SDXL, "ipa_faceid_sdxl"),
    ),
    folder="ipadapter", source="h94/IP-Adapter-FaceID",
    licence="Apache-2.0 code, weights for research; InsightFace's face models are for non-commercial research",
    face_space="buffalo_l-w600k_r50",
)  # fmt: skip
_PLUS = replace(
    _FACEID, title="IP-Adapter FaceID Plus", kind="an IP-Adapter FaceID Plus adapter",
    files=(PublishedFile("ip-adapter-faceid-plus_sd15.bin", SD15, "ipa_faceid_plus_sd15"),),
)  # fmt: skip
_PLUS_V2 = replace(
    _PLUS, title="IP-Adapter FaceID Plus v2",
    files=(
        PublishedFile("ip-adapter-faceid-plusv2_sd15.bin", SD15, "ipa_faceid_plus_sd15"),
        PublishedFile("ip-adapter-faceid-plusv2_sdxl.bin", SDXL, "ipa_faceid_plus_sdxl"),
    ),
)  # fmt: skip
_PORTRAIT = replace(
    _FACEID, title="IP-Adapter FaceID Portrait",
    files=(
        PublishedFile("ip-adapter-faceid-portrait-v11_sd15.bin", SD15, "ipa_faceid_portrait_sd15"),
        PublishedFile("ip-adapter-faceid-portrait_sd15.bin", SD15, "ipa_faceid_portrait_sd15"),
        PublishedFile("ip-adapter-faceid-portrait_sdxl.bin", SDXL, "ipa_faceid_portrait_sdxl"),
    ),
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are of this family, else None; KeyError names a tensor that is missing."""
    if not {"image_proj.proj.0.weight", "image_proj.proj.2.weight", "image_proj.norm.weight"} <= tensors.keys():
        return None
    widths = site_widths(tensors)
    if not widths:
        return None
    token_dim = tensors["image_proj.norm.weight"].shape[0]
    known, look = _FACEID, None
    guesses: tuple[str, ...] = ()
    if "image_proj.perceiver_resampler.proj_in.weight" in tensors:
        known = _PLUS_V2 if is_second(clues) else _PLUS
        look, guesses = Look("clip-h", "face", 224), (_guess(clues, known),)
    elif not any("_lora." in key for key in tensors):
        known = _PORTRAIT
    return known.spec(
        clues,
        face_dim=tensors["image_proj.proj.0.weight"].shape[-1],
        tokens=tensors["image_proj.proj.2.weight"].shape[0] // token_dim,
        token_dim=token_dim,
        site_widths=widths,
        normalised=True,
        each=_PHOTOGRAPHS if known is _PORTRAIT else 1,
        look=look,
        adds_seen=known is _PLUS_V2,
        guesses=guesses,
    )


def is_second(clues: Clues) -> bool:
    """Whether a FaceID Plus file is of the second version: nothing in it tells, so the artist does, or its name."""
    if clues.overrides.faceid_plus != "auto":
        return clues.overrides.faceid_plus == "v2"
    return "plusv2" in re.sub(r"[^a-z0-9]", "", clues.name.lower())


def _guess(clues, known):
    name = known.title.removeprefix("IP-Adapter ")
    if clues.overrides.faceid_plus != "auto":
        return f"Version: {name}, as chosen in faceid_plus"
    return f"Version: {name}, a guess by the file's name; both have the same layout, so set faceid_plus if it is wrong"


class FacePerceiver(nn.Module):
    """Resampler whose queries are given: face tokens [N,Q,dim] look at CLIP's hidden states [N,S,embedding_dim]."""

    def __init__(
        self, dim: int, inner: int, depth: int, embedding_dim: int, dim_head: int = _DIM_HEAD,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place = {"device": device, "dtype": dtype, "operations": operations}
        self.proj_in = operations.Linear(embedding_dim, dim, device=device, dtype=dtype)
        self.layers = perceiver_layers(dim, inner, depth, dim_head, **place)
        self.proj_out = operations.Linear(dim, dim, device=device, dtype=dtype)
        self.norm_out = operations.LayerNorm(dim, device=device, dtype=dtype)

    def forward(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        return self.norm_out(self.proj_out(refine(self.layers, self.proj_in(hidden), tokens)))


class FaceProjection(nn.Module):
    """Face vectors [N,D] -> tokens [N,T,token_dim], with a FacePerceiver where the checkpoint has one."""

    def __init__(
        self, tensors: Tensors, token_dim: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        hidden, face_dim = tensors["image_proj.proj.0.weight"].shape
        out = tensors["image_proj.proj.2.weight"].shape[0]
        if not out or out % token_dim:
            raise RuntimeError(f"{out} numbers are no whole number of tokens of {token_dim}")
        self.proj = nn.Sequential(
            operations.Linear(face_dim, hidden, **place), nn.GELU(), operations.Linear(hidden, out, **place)
        )
        self.norm = operations.LayerNorm(token_dim, **place)
        self.perceiver_resampler = None
        if "image_proj.perceiver_resampler.proj_in.weight" in tensors:
            inner = tensors["image_proj.perceiver_resampler.layers.0.0.to_q.weight"].shape[0]
            if not inner or inner % _DIM_HEAD:
                raise RuntimeError(f"attention width {inner} is no multiple of {_DIM_HEAD}")
            depth = 1 + max(int(match[1]) for key in tensors if (match := _LAYER.match(key)))
            width = tensors["image_proj.perceiver_resampler.proj_in.weight"].shape[-1]
            self.perceiver_resampler = FacePerceiver(token_dim, inner, depth, width, operations=operations, **place)

    def forward(
        self, vectors: torch.Tensor, hidden: torch.Tensor | None = None, structure: float | None = None
    ) -> torch.Tensor:
        """`hidden` [N,S,W]: what CLIP saw. `structure`: how much of what the tokens saw is added to them (v2); None:
        it takes their place (v1)."""
        tokens = self.proj(vectors).unflatten(-1, (-1, self.norm.weight.shape[0]))
        tokens = self.norm(tokens)
        if self.perceiver_resampler is None:
            return tokens
        saw = self.perceiver_resampler(tokens, hidden)
        return saw if structure is None else tokens + structure * saw


class FaceID(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "IP-Adapter FaceID", (_FACEID, _PLUS, _PLUS_V2, _PORTRAIT)
    recognise, split = staticmethod(recognise), staticmethod(split_lora)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__(spec, **place)
        self.image_proj = FaceProjection(tensors, spec.token_dim, **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        hidden = faces.seen.hidden[0] if faces.seen.hidden else None
        structure = choices.structure if self.spec.adds_seen else None
        return self.image_proj(faces.vectors, hidden, structure).flatten(0, 1)[None]
