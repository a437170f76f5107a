"""PuLID for SDXL (Guo et al. 2024), versions 1 and 1.1: a face vector and EVA-CLIP's look at the face.

The checkpoint holds `id_adapter.*` (IDEncoder, or IDFormer in version 1.1) and
`id_adapter_attn_layers.{n}.id_to_k|id_to_v.weight`, n = 1, 3, 5, ... over the sites in the order down, up, middle; a
conversion calls them `image_proj.*` and `ip_adapter.{n}.to_k_ip|to_v_ip.weight`. The face vector goes in as it is,
beside EVA's embedding at length 1; nobody is zeros for both and for the hidden states.

Of several photographs, version 1 takes all 10 tokens of the first and of each further one the 5 of its face vector; all
10 of each where people are to be mixed, as in the published demonstration ("ID Mix"). Version 1.1 makes one set of all.
"""

import re
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..attention.residuals import Ortho, OrthoV2, ZeroPadded
from .bases import SDXL
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .id_encoders import FACE_TOKENS, STATES, IDEncoder, former_of
from .ip_layout import SiteKV, site_widths
from .spec import AdapterSpec, Clues, Known, Look, LoRA, PublishedFile, Tensors

# What each method puts at a site, and how many tokens of zeros go with it.
_METHODS = {"fidelity": (OrthoV2, 8), "style": (Ortho, 16), "plain": (ZeroPadded, 0)}
LOOK = Look(vision="eva-l336", crop="head", size=512, backdrop="grey")
SEEN_DIM = 768  # EVA02-CLIP-L's embedding of the whole picture, which follows the face vector
PHOTOGRAPHS = 4  # that the published demonstrations of both versions take

_FIRST = Known(
    family="pulid", title="PuLID", kind="a PuLID adapter for SDXL",
    files=(
        PublishedFile("pulid_v1.bin", SDXL, "pulid_sdxl_v1"),
        PublishedFile("ip-adapter_pulid_sdxl_fp16.safetensors", SDXL, "pulid_sdxl_v1_huchenlei"),
    ),
    folder="pulid", source="guozinan/PuLID; huchenlei/ipadapter_pulid",
    licence="Apache-2.0 adapter; InsightFace's face models are for non-commercial research",
    face_space="antelopev2-glintr100", face_dim=512,
)  # fmt: skip
_SECOND = replace(
    _FIRST, title="PuLID v1.1", files=(PublishedFile("pulid_v1.1.safetensors", SDXL, "pulid_sdxl_v1_1"),),
    source="guozinan/PuLID",
)  # fmt: skip

_MARKS = ("id_adapter.", "image_proj.mapping_", "image_proj.id_embedding_mapping.")
_OTHER_NAMES = (
    (re.compile(r"^image_proj\."), "id_adapter."),
    (re.compile(r"^ip_adapter\.(\d{1,4})\.to_([kv])_ip\."), r"id_adapter_attn_layers.\1.id_to_\2."),
)
_NAMES, _SITES = ("id_to_k", "id_to_v"), "id_adapter_attn_layers"


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are PuLID's, else None; KeyError names a tensor that is missing."""
    if not any(key.startswith(_MARKS) for key in tensors):
        return None
    tensors = _published(tensors)
    former = "id_adapter.latents" in tensors
    face_dim = tensors[f"id_adapter.{_face_part(tensors)}.0.weight"].shape[-1] - SEEN_DIM
    known = _SECOND if former else _FIRST
    return known.spec(
        clues,
        face_dim=face_dim,
        tokens=tensors["id_adapter.latents"].shape[1] if former else FACE_TOKENS + STATES,
        token_dim=tensors["id_adapter_attn_layers.1.id_to_k.weight"].shape[-1],
        site_widths=site_widths(tensors, _NAMES, _SITES),
        each=PHOTOGRAPHS,
        further=0 if former else FACE_TOKENS,
        together=former,
        look=LOOK,
        default_weight=0.8,
    )


def _published(tensors):
    """Tensors under PuLID's own names."""
    named = {}
    for key, tensor in tensors.items():
        for pattern, name in _OTHER_NAMES:
            key = pattern.sub(name, key)
        named[key] = tensor
    return named


def _face_part(tensors):
    """What the layers that take the face vector are called."""
    return "id_embedding_mapping" if "id_adapter.latents" in tensors else "body"


class PuLID(IDAdapter):
    """The whole adapter; parameter names are PuLID's own."""

    named, known = "PuLID for SDXL", (_FIRST, _SECOND)
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.id_adapter: nn.Module
        if "id_adapter.latents" in tensors:
            self.id_adapter = former_of(tensors, "id_adapter.", **place)
        else:
            face, seen = tensors["id_adapter.body.0.weight"], tensors["id_adapter.mapping_0.0.weight"]
            sizes = face.shape[-1], face.shape[0], seen.shape[-1], seen.shape[0]
            self.id_adapter = IDEncoder(*sizes, spec.token_dim, **place)
        self.id_adapter_attn_layers = SiteKV(spec.token_dim, spec.site_widths, _NAMES, **place)

    @classmethod
    def split(cls, tensors: Tensors) -> tuple[Tensors, LoRA]:
        return _published(tensors), LoRA()

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        seen = faces.seen
        tokens = self.id_adapter(torch.cat([faces.vectors, F.normalize(seen.pooled, dim=-1)], dim=-1), seen.hidden)
        further = tokens[1:] if faces.equal else tokens[1:, :FACE_TOKENS]  # version 1.1 has one set of tokens
        return torch.cat([tokens[0], further.flatten(0, 1)])[None]

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return self.id_adapter_attn_layers(tokens)

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        site, zeros = _METHODS[choices.method]
        return [site(k, v, zeros) for k, v in self.keys_values(tokens)]
