"""WithAnyone (Xu et al. 2025) for FLUX, and WithAnyone Ke for FLUX.1 Kontext: cross-attentions after all 57 blocks.

A block adds `id_weight * ipa_arc(arc) + siglip_weight * ipa_sig(seen)` to the picture's tokens: `arc` are 8 tokens of
the face vector, `seen` SigLIP's 256 tokens of the face and 8 more of the vector. Both halves were trained apart and
then put into one file, and what the authors advise, in their demo and for their scripts, is
`id_weight = 1 - siglip_weight`. `Choices.structure` is the demo's slider, siglip_weight: 1, where the slider starts,
is the picture alone, 0 the vector alone.

Ke has one cross-attention and 8 tokens of the face vector. Its `siglip_in` is left aside: the published program never
uses it ("only arcface supported now"). The authors have no negative prompt, nor has anything been trained for nobody,
so nothing is added for it. Keys: `ipa_arc.{0-56}`, `ipa_sig.{0-56}`, `arcface_in_arc`, `arcface_in_sig`,
`siglip_in_sig`; Ke's: `ipa.{0-56}`, `arcface_in`, `siglip_in`.
"""

import re
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..attention.transformer import CrossAttention, LookAfter
from ..layer_types import Device, Dtype, Operations
from .bases import FLUX
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .ip_layout import block_widths
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

_DIM_HEAD = 64
_TOKENS = 8  # of a face vector
_SEEN = 256  # tokens of SigLIP's
_SITE = re.compile(r"ipa(?:_arc|_sig)?\.(\d{1,4})\.")

_KNOWN = Known(
    family="withanyone", title="WithAnyone", kind="a WithAnyone adapter",
    files=(PublishedFile("withanyone.safetensors", FLUX, "withanyone_flux_complete"),),
    folder="likeness", source="WithAnyone/WithAnyone",
    licence="FLUX.1 [dev] Non-Commercial License; InsightFace's face models are for non-commercial research",
    face_space="antelopev2-glintr100", face_dim=512,
)  # fmt: skip
_KNOWN_KE = replace(
    _KNOWN, title="WithAnyone Ke",
    files=(PublishedFile("withanyone.ke.preview.safetensors", FLUX, "withanyone_kontext_e"),),
)  # fmt: skip
_KE_EDITS = "It edits faces with FLUX.1 Kontext: give the model the picture, its faces blurred, with ReferenceLatent"


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are WithAnyone's, else None; KeyError names a tensor that is missing."""
    is_ke = any(key.startswith("ipa.") for key in tensors)
    known, first, vectors = (_KNOWN_KE, "ipa", "arcface_in") if is_ke else (_KNOWN, "ipa_arc", "arcface_in_arc")
    widths = block_widths(tensors, _SITE, f"{first}.{{}}.to_out.weight")
    if not widths:
        return None
    return known.spec(
        clues,
        face_dim=tensors[f"{vectors}.0.weight"].shape[-1],
        tokens=_TOKENS if is_ke else _TOKENS + _SEEN + _TOKENS,
        token_dim=tensors[f"{first}.0.norm1.weight"].shape[0],
        own_width=True,
        site_widths=widths,
        of=FLUX,
        places=tuple(range(len(FLUX.site_widths))),
        look=None if is_ke else Look("siglip-b256", "square", 512),
        guesses=(_KE_EDITS,) if is_ke else (),
    )


class _Perceptron(nn.Sequential):
    """What makes tokens of a face vector or of SigLIP's, [...,in] -> [...,out]; `key` as in the checkpoint."""

    def __init__(
        self, tensors: Tensors, key: str, out: int,
        device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        hidden, width = tensors[f"{key}.0.weight"].shape
        place = {"device": device, "dtype": dtype}
        super().__init__(
            operations.Linear(width, hidden, **place),
            nn.GELU(),
            operations.LayerNorm(hidden, **place),
            operations.Linear(hidden, out, **place),
        )


class WithAnyone(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known, keeps_layers, has_nobody = "WithAnyone", (_KNOWN, _KNOWN_KE), True, False
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec

        def attentions(name):
            inner = tensors[f"{name}.0.to_q.weight"].shape[0]
            if not inner or inner % _DIM_HEAD:
                raise RuntimeError(f"attention width {inner} is no multiple of {_DIM_HEAD}")
            sizes = spec.token_dim, inner, _DIM_HEAD
            return nn.ModuleList(CrossAttention(width, *sizes, **place) for width in spec.site_widths)

        vector = _TOKENS * spec.token_dim
        if spec.look is None:
            self.ipa, self.arcface_in = attentions("ipa"), _Perceptron(tensors, "arcface_in", vector, **place)
            return
        self.ipa_arc, self.ipa_sig = attentions("ipa_arc"), attentions("ipa_sig")
        self.arcface_in_arc = _Perceptron(tensors, "arcface_in_arc", vector, **place)
        self.arcface_in_sig = _Perceptron(tensors, "arcface_in_sig", vector, **place)
        self.siglip_in_sig = _Perceptron(tensors, "siglip_in_sig", spec.token_dim, **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        """Tokens [1,8,token_dim], and behind them what `ipa_sig` looks at, SigLIP's before the vector's."""
        if self.spec.look is None:
            return _tokens(self.arcface_in(faces.vectors), self.spec.token_dim)
        arc, also = (
            _tokens(made(faces.vectors), self.spec.token_dim) for made in (self.arcface_in_arc, self.arcface_in_sig)
        )
        return torch.cat([arc, self.siglip_in_sig(faces.seen.hidden[0]), also], dim=1)

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        if self.spec.look is None:
            return [LookAfter([_look(layers, tokens, 1.0)], shared=True) for layers in self.ipa]
        parts = tokens[:, :_TOKENS], tokens[:, _TOKENS:]
        seen = min(choices.structure, 1.0)  # the slider's end
        weights = 1 - seen, seen
        return [
            LookAfter([_look(*one) for one in zip(layers, parts, weights, strict=True) if one[-1]], shared=True)
            for layers in zip(self.ipa_arc, self.ipa_sig, strict=True)
        ]


def _tokens(numbers, token_dim):
    """[N,T*token_dim] -> [1,N*T,token_dim]."""
    return numbers.unflatten(-1, (-1, token_dim)).flatten(0, 1)[None]


def _look(layers, tokens, weight):
    k, v = layers.face(tokens)
    return layers, k, v * weight
