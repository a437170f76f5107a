"""FaceChain-FACT (Yu et al. 2024): TransFace's patches of the face, and gated self-attention in every block.

`local_fac_prj.*` is a Resampler that makes 16 tokens of each photograph's 144 patches. The gates lie under diffusers'
names of the U-Net, `{block}.attentions.{j}.transformer_blocks.0.attn2.processor.*`, and work on what goes into the
cross-attention (see attention.gates). The unconditional half gets Resampler(zeros).
"""

import re
from typing import Any

import torch
from torch import nn

from ..attention.gates import Gate, GateLayers
from .bases import SD15
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .resampler import resampler_of
from .spec import AdapterSpec, Clues, Known, LoRA, PublishedFile, Tensors

PATCHES = 144  # of TransFace
_PHOTOGRAPHS = 4  # the published code sets no limit
_PROJECTION, _BLOCKS = "local_fac_prj.", ("down", "up", "mid")
_GATE = re.compile(
    r"(?:unet\.)?(down|up|mid)_block(?:s\.(\d{1,2}))?\.attentions\.(\d{1,2})\.transformer_blocks\.(\d{1,2})"
    r"\.attn2\.processor\.((?:linear|attn|ff|norm1|norm2|alpha_attn|alpha_dense)\b.*)"
)
_OF_THE_UNET = re.compile(r"(?:down_blocks|up_blocks|mid_block)\.")
_FACT = Known(
    family="fact", title="FaceChain-FACT", kind="a FaceChain-FACT adapter",
    files=(PublishedFile("adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt", SD15, "facechain_fact_sd15"),),
    folder="likeness", source="yucheng1996/FaceChain-FACT on ModelScope",
    licence="Apache-2.0 code; TransFace's training data is for non-commercial research", face_space="transface",
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are FACT's, else None; KeyError names a tensor that is missing."""
    if f"{_PROJECTION}latents" not in tensors:
        return None
    published = _published(tensors)
    return _FACT.spec(
        clues,
        face_dim=PATCHES * published[f"{_PROJECTION}proj_in.weight"].shape[1],
        tokens=published[f"{_PROJECTION}latents"].shape[1],
        token_dim=published[f"{_PROJECTION}proj_out.weight"].shape[0],
        site_widths=tuple(published[f"gates.{n}.linear.weight"].shape[0] for n in range(_count(published))),
        each=_PHOTOGRAPHS,
        default_weight=0.5,
        guesses=(
            "transface is the file ms1mv2_model_TransFace_S.pt in models/face_encoders; choose it in LoadFaceEncoder",
            "Published with heads cut out on black; a photograph with a plain, dark background comes close",
        ),
    )


def _published(tensors):
    """The gates as `gates.{n}.*` in the order down, up, middle; what else the file holds of the U-Net, as `unet.*`."""
    found = {key: match for key in tensors if (match := _GATE.fullmatch(key))}
    places = sorted({_place(match) for match in found.values()})
    gates = {f"gates.{places.index(_place(match))}.{match[5]}": tensors[key] for key, match in found.items()}
    rest = {key: tensor for key, tensor in tensors.items() if key not in found}
    return {f"unet.{key}" if _OF_THE_UNET.match(key) else key: tensor for key, tensor in rest.items()} | gates


def _place(match):
    return _BLOCKS.index(match[1]), int(match[2] or 0), int(match[3]), int(match[4])


def _count(published):
    return len({key.split(".")[1] for key in published if key.startswith("gates.")})


class FACT(IDAdapter):
    """The whole adapter; parameter names are those that `split` gives."""

    named, known, keeps_layers = "FaceChain-FACT", (_FACT,), True
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.local_fac_prj = resampler_of(tensors, _PROJECTION, **place)
        self.gates: Any = nn.ModuleList(  # of GateLayers, which its own type can't say
            GateLayers(spec.token_dim, width, tensors[f"gates.{n}.ff.net.2.weight"].shape[1], **place)
            for n, width in enumerate(spec.site_widths)
        )

    @classmethod
    def split(cls, tensors: Tensors) -> tuple[Tensors, LoRA]:
        return super().split(_published(tensors))

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.local_fac_prj(faces.vectors.unflatten(-1, (PATCHES, -1))).flatten(0, 1)[None]

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [gate.face(tokens) for gate in self.gates]

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        pairs = self.keys_values(tokens)
        return [Gate(layers, k, v) for layers, (k, v) in zip(self.gates, pairs, strict=True)]
