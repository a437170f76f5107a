"""ConsistentID (Huang et al. 2024) for SD1.5 and SDXL: FaceID Plus's tokens at the sites, and parts in the prompt.

The sites: `image_proj.*` and `ip_adapter.{n}.*` as in FaceID Plus, but CLIP sees the whole picture; on SDXL what the
tokens saw is added to them, on SD1.5 it takes their place. The prompt: `FacialEncoder.visual_projection` (a Resampler,
one query, dim_head 64) makes a token of CLIP's view of each part of the face, and `FacialEncoder.fuse_module` fuses it
into a word of a caption at the prompt. The negative prompt gets those of an empty picture, at the same positions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .bases import SD15, SDXL, base_of
from .faceid import FaceProjection
from .family import DEFAULTS, Choices, FaceInput
from .fuse import FuseModule
from .ip_layout import SiteAdapter, site_widths, split_lora
from .resampler import resampler_of
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

_CONSISTENTID = Known(
    family="consistentid", title="ConsistentID", kind="a ConsistentID adapter",
    files=(
        PublishedFile("ConsistentID-v1.bin", SD15, "consistentid_sd15"),
        PublishedFile("ConsistentID_SDXL-v1.bin", SDXL, "consistentid_sdxl"),
    ),
    folder="likeness", source="JackAILab/ConsistentID",
    licence="MIT code; InsightFace's face models are for non-commercial research", face_space="buffalo_l-w600k_r50",
)  # fmt: skip
_PARTS = "FacialEncoder.visual_projection."
_NEEDED = {"image_proj.proj.0.weight", "image_proj.perceiver_resampler.proj_in.weight", f"{_PARTS}latents"}

# The classes of each part in a face parser's words, in the order in which the published code cuts them out. Of a pair
# it takes the first that it finds, of the mouth one lip.
PARTS = (("skin",), ("l_eye", "r_eye"), ("l_ear", "r_ear"), ("nose",), ("u_lip", "l_lip"))
# What the caption says of them: in another order, which the published code trained and runs with, so that the token of
# the eyes goes into the word "ears".
_SAID = ((0, "The person has one face"), (2, "two ears"), (1, "two eyes"), (3, "one nose"), (4, "and one mouth"))
_SAID_SDXL = (*_SAID[:4], (4, "and a mouth"))


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are ConsistentID's, else None; KeyError names a tensor that is missing."""
    if not _NEEDED <= tensors.keys():
        return None
    widths = site_widths(tensors)
    token_dim = tensors["image_proj.norm.weight"].shape[0]
    return _CONSISTENTID.spec(
        clues,
        face_dim=tensors["image_proj.proj.0.weight"].shape[-1],
        tokens=tensors["image_proj.proj.2.weight"].shape[0] // max(1, token_dim),
        token_dim=token_dim,
        site_widths=widths,
        normalised=True,
        look=Look("clip-h", "whole", 224),
        adds_seen=base_of(len(widths)) is SDXL,
        in_prompt=True,
        guesses=("Parts of the face go into the prompt: models/face_parsing needs a face parser; start_merge_at 0.6",),
    )


class ConsistentID(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "ConsistentID", (_CONSISTENTID,)
    recognise, split = staticmethod(recognise), staticmethod(split_lora)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__(spec, **place)
        self.image_proj = FaceProjection(tensors, spec.token_dim, **place)
        self.FacialEncoder = nn.ModuleDict(
            {
                "visual_projection": resampler_of(tensors, _PARTS, **place),
                "fuse_module": FuseModule(spec.token_dim, **place),
            }
        )
        self.is_sdxl = base_of(len(spec.site_widths)) is SDXL
        self.plain_has_caption = not self.is_sdxl  # before the face is merged in

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        structure = choices.structure if self.spec.adds_seen else None
        return self.image_proj(faces.vectors, faces.seen.hidden[0], structure).flatten(0, 1)[None]

    def caption(self, parts: Sequence[int]) -> tuple[str, list[str]]:
        """What goes in front of the caption, and the caption's phrases: of the parts that are there.

        Each phrase ends with the word that a part's token goes into, and is followed by a comma.
        """
        said = _SAID_SDXL if self.is_sdxl else _SAID
        return "; Detail:" if self.is_sdxl else "Detail:", [phrase for part, phrase in said if part in parts]

    def part_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """CLIP's last but one hidden states of the parts [P,S,W], in the order of PARTS -> [1,P,token_dim]."""
        return self.FacialEncoder["visual_projection"](hidden).flatten(0, 1)[None]

    def fuse(self, words: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The last words of the caption's phrases [1,P,token_dim], with the parts' tokens in them, first into first."""
        return self.FacialEncoder["fuse_module"](words, tokens)
