"""PuLID for FLUX (Guo et al. 2024), versions 0.9.0 and 0.9.1: cross-attentions after blocks of the transformer.

The checkpoint holds `pulid_encoder.*` (IDFormer, as in PuLID v1.1 for SDXL) and `pulid_ca.{0-19}.*`, a running number
over every second of the 19 double blocks and every fourth of the 38 single ones, 0, 2, ... 18 and 0, 4, ... 36. Each
adds what the picture's tokens see of the identity's after its block. Nobody is zeros for the face and all that EVA-CLIP
sees; the authors' negative prompt has it at the same weight. Several photographs make one set of tokens.

Facelets' adapter in this layout, for its 9 blocks, was trained without EVA-CLIP: where the first layer takes no more
than a face vector, all that is seen are zeros.
"""

import re
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..attention.transformer import CrossAttention, LookAfter
from .bases import FACELETS_FLUX, FLUX, Base
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .id_encoders import STATES, former_of
from .ip_layout import block_widths
from .pulid import LOOK, PHOTOGRAPHS, SEEN_DIM
from .spec import AdapterSpec, Clues, Known, PublishedFile, Tensors


def places_in(base: Base) -> tuple[int, ...]:
    """The numbers of PuLID's blocks among a foundation model's."""
    return (*range(0, base.double, 2), *range(base.double, base.blocks, 4))


_DIM_HEAD = 128
_SITE = re.compile(r"pulid_ca\.(\d{1,4})\.")

_KNOWN = Known(
    family="pulid_flux", title="PuLID for FLUX", kind="a PuLID adapter for FLUX",
    files=(
        PublishedFile("pulid_flux_v0.9.1.safetensors", FLUX, "pulid_flux"),
        PublishedFile("pulid_flux_v0.9.0.safetensors", FLUX, "pulid_flux"),
    ),
    folder="pulid", source="guozinan/PuLID",
    licence="Apache-2.0 code, FLUX.1-dev and InsightFace's face models are for non-commercial use",
    face_space="antelopev2-glintr100", face_dim=512,
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are PuLID's for FLUX, else None; KeyError names a tensor that is missing."""
    widths = block_widths(tensors, _SITE, "pulid_ca.{}.to_out.weight")
    if not widths:
        return None
    taken = tensors["pulid_encoder.id_embedding_mapping.0.weight"].shape[-1]
    sees = taken > SEEN_DIM
    base = FLUX if sees else FACELETS_FLUX
    return _KNOWN.spec(
        clues,
        face_dim=taken - SEEN_DIM if sees else taken,
        tokens=tensors["pulid_encoder.latents"].shape[1],
        token_dim=tensors["pulid_encoder.proj_out"].shape[-1],
        own_width=True,
        site_widths=widths,
        of=base,
        places=places_in(base),
        each=PHOTOGRAPHS,
        together=True,
        look=LOOK if sees else None,
        default_weight=1.0,
    )


class PuLIDFlux(IDAdapter):
    """The whole adapter; parameter names are PuLID's own."""

    named, known, keeps_layers = "PuLID", (_KNOWN,), True
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.pulid_encoder: nn.Module = former_of(tensors, "pulid_encoder.", **place)
        inner = tensors["pulid_ca.0.to_q.weight"].shape[0]
        if not inner or inner % _DIM_HEAD:
            raise RuntimeError(f"attention width {inner} is no multiple of {_DIM_HEAD}")
        self.pulid_ca = nn.ModuleList(
            CrossAttention(width, spec.token_dim, inner, _DIM_HEAD, **place) for width in spec.site_widths
        )

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        if self.spec.look is None:
            seen_dim = self.pulid_encoder.get_parameter("mapping_0.0.weight").shape[-1]
            nothing = faces.vectors.new_zeros(len(faces.vectors), 1, seen_dim)
            return self.pulid_encoder(faces.vectors, (nothing,) * STATES)
        seen = faces.seen
        vectors = torch.cat([faces.vectors, F.normalize(seen.pooled, dim=-1)], dim=-1)
        return self.pulid_encoder(vectors, seen.hidden)

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        attentions: Iterable[Any] = self.pulid_ca
        return [LookAfter([(layers, *layers.face(tokens))]) for layers in attentions]
