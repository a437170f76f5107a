"""UniPortrait (He, Geng, Bo 2024; Junjie96/UniPortrait, SD1.5): 16 tokens from what CurricularFace and CLIP see.

Queries look in turn at the face's intrinsic features (the last stage of CurricularFace) and at its structure (the early
stages beside CLIP's patches). The photographs of a person are one longer sequence. Keys: `faceid_proj.*`,
`faceid_adapter.{n}.to_k_faceid|to_v_faceid.weight`, and a LoRA of every attention, `faceid_adapter.{n}.to_*_lora.*`.
"""

import re
from typing import Any

import torch
from torch import nn

from ..faces.describe.curricularface import CELLS, KIND, PATCHES
from ..layer_types import Device, Dtype, Operations
from .bases import SD15
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .ip_layout import SiteKV, site_widths, split_lora
from .resampler import PerceiverAttention, feed_forward
from .spec import VISION, AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

LAYERS, NAMES = "faceid_adapter", ("to_k_faceid", "to_v_faceid")
_DEPTH = re.compile(r"faceid_proj\.layers\.(\d{1,2})\.")
_DIM_HEAD = 64
_LOOK, _VISION = Look("clip-h", "face", 224), VISION["clip-h"]
_PHOTOGRAPHS = 16  # a bound on the time that attention to them takes; the published code has none
_ADVICE = (
    "Face encoder: glint360k_curricular_face_r101_backbone.bin (Junjie96/UniPortrait on Hugging Face) in "
    "models/face_encoders",
    "Structure: 1 is the 0.1 that the authors start with; they advise 0 to 4 of these",
    "Several people: choose uniportrait-router_sd15.bin as router, and chain one ApplyIDAdapter per person",
)
_STRUCTURE = 0.1  # how much of the structure the authors start with; that is a choice of 1
_UNIPORTRAIT = Known(
    family="uniportrait", title="UniPortrait", kind="a UniPortrait adapter",
    files=(PublishedFile("uniportrait-faceid_sd15.bin", SD15, "uniportrait_faceid_sd15"),), folder="likeness",
    source="Junjie96/UniPortrait",
    licence="Apache-2.0 weights; its face model was trained on Glint360K, which is for non-commercial research",
    face_space=KIND,
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are UniPortrait's, else None; KeyError names a tensor that is missing."""
    if not any(key.startswith("faceid_proj.") for key in tensors):
        return None
    early = tensors["faceid_proj.proj_clip.0.weight"].shape[-1] - _VISION.width
    if early <= 0:
        raise RuntimeError("proj_clip is too narrow for CLIP's patches and early features beside them")
    return _UNIPORTRAIT.spec(
        clues,
        face_dim=CELLS * tensors["faceid_proj.proj_id.0.weight"].shape[-1] + PATCHES * early,
        tokens=tensors["faceid_proj.latents"].shape[-2],
        token_dim=tensors["faceid_proj.norm_out.weight"].shape[0],
        site_widths=site_widths(tensors, NAMES, LAYERS),
        each=_PHOTOGRAPHS,
        together=True,
        look=_LOOK,
        default_weight=0.7,
        guesses=_ADVICE,
    )


def _mlp(tensors, prefix, device=None, dtype=None, operations=nn):
    """Linear, GELU, Linear of the sizes that a checkpoint's tensors have under `prefix`."""
    (hidden, width), out = tensors[f"{prefix}.0.weight"].shape, tensors[f"{prefix}.2.weight"].shape[0]
    return nn.Sequential(
        operations.Linear(width, hidden, device=device, dtype=dtype),
        nn.GELU(),
        operations.Linear(hidden, out, device=device, dtype=dtype),
    )


class FaceIDResampler(nn.Module):
    """Intrinsic features [B,S,I] and structure [B,R,W] -> tokens [B,Q,output_dim]."""

    def __init__(self, tensors: Tensors, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place = {"device": device, "dtype": dtype, "operations": operations}
        latents, inner = tensors["faceid_proj.latents"], tensors["faceid_proj.layers.0.0.to_q.weight"].shape[0]
        if latents.ndim != 3 or not inner or inner % _DIM_HEAD:
            raise RuntimeError(f"latents of shape {list(latents.shape)} and attention width {inner} are no resampler's")
        dim = latents.shape[-1]
        depth = 1 + max(int(match[1]) for key in tensors if (match := _DEPTH.match(key)))
        self.latents = nn.Parameter(torch.zeros(latents.shape, device=device, dtype=dtype))
        self.proj_id = _mlp(tensors, "faceid_proj.proj_id", **place)
        self.proj_clip = _mlp(tensors, "faceid_proj.proj_clip", **place)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [PerceiverAttention(dim, inner, _DIM_HEAD, **place) for _ in range(2)] + [feed_forward(dim, **place)]
            )
            for _ in range(depth)
        )
        out = tensors["faceid_proj.proj_out.weight"].shape[0]
        self.proj_out = operations.Linear(dim, out, device=device, dtype=dtype)
        self.norm_out = operations.LayerNorm(out, device=device, dtype=dtype)

    def forward(self, intrinsic: torch.Tensor, structure: torch.Tensor, scale: float) -> torch.Tensor:
        """`scale`: how much of what the queries see of the structure is added to them."""
        intrinsic, structure = self.proj_id(intrinsic), self.proj_clip(structure)
        latents = self.latents.to(intrinsic).expand(len(intrinsic), -1, -1)
        for layer in self.layers:
            look, look_at_structure, mlp = layer.children()
            latents = look(intrinsic, latents) + latents
            latents = scale * look_at_structure(structure, latents) + latents
            latents = mlp(latents) + latents
        return self.norm_out(self.proj_out(latents))


class UniPortrait(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "UniPortrait", (_UNIPORTRAIT,)
    recognise, split = staticmethod(recognise), staticmethod(split_lora)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.faceid_proj = FaceIDResampler(tensors, **place)
        self.faceid_adapter = SiteKV(spec.token_dim, spec.site_widths, NAMES, **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        patches = faces.seen.hidden[0][:, 1:]  # without the class token
        if patches.shape[1] != PATCHES:
            raise ValueError(
                f"UniPortrait takes {PATCHES} patches from CLIP, but the connected clip_vision gives "
                f"{patches.shape[1]}; load {_VISION.source}."
            )
        width = self.faceid_proj.proj_id[0].weight.shape[-1]
        intrinsic = faces.vectors[:, : CELLS * width].unflatten(1, (CELLS, width))
        early = faces.vectors[:, CELLS * width :].unflatten(1, (PATCHES, -1))
        structure = torch.cat([early, patches.to(early)], -1)
        return self.faceid_proj(
            *(part.flatten(0, 1)[None] for part in (intrinsic, structure)),
            _STRUCTURE * choices.structure,
        )

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return self.faceid_adapter(tokens)
