"""InstantID (Wang et al. 2024), and IP-Adapter FaceID Portrait for un-normalised vectors, which has the same layout.

The checkpoint holds `image_proj.*` (a Resampler, dim_head 64: 16 identity tokens from one face vector) and
`ip_adapter.{n}.to_k_ip|to_v_ip.weight` for every cross-attention site. The unconditional half gets Resampler(zeros),
and InstantID's landmark ControlNet (IdentityNet) sees only the identity tokens. Vectors go in un-normalised.
"""

from dataclasses import replace
from typing import Any

import torch

from ..weights import CLIP_WIDTHS
from .bases import SDXL
from .family import DEFAULTS, Choices, FaceInput
from .ip_layout import SiteAdapter, site_widths
from .resampler import resampler_of
from .spec import AdapterSpec, Clues, Known, PublishedFile, Tensors

_INSTANTID = Known(
    family="instantid", title="InstantID", kind="an InstantID or FaceID Portrait adapter",
    files=(PublishedFile("ip-adapter.bin", SDXL, "instantid_ipadapter"),), folder="instantid",
    source="InstantX/InstantID",
    licence="Apache-2.0 adapter; InsightFace's face models are for non-commercial research",
    face_space="antelopev2-glintr100", face_dim=512,
)  # fmt: skip
_PORTRAIT = replace(
    _INSTANTID, family="portrait", title="IP-Adapter FaceID Portrait (un-normalised)",
    files=(PublishedFile("ip-adapter-faceid-portrait_sdxl_unnorm.bin", SDXL, "ipa_faceid_portrait_sdxl_unnorm"),),
    folder="ipadapter", source="h94/IP-Adapter-FaceID", face_space="buffalo_l-w600k_r50",
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are InstantID's, else None; KeyError names a site's tensor that is missing."""
    if not {"image_proj.latents", "image_proj.proj_in.weight", "image_proj.proj_out.weight"} <= tensors.keys():
        return None
    widths = site_widths(tensors)
    face_dim = tensors["image_proj.proj_in.weight"].shape[-1]
    if not widths or face_dim in CLIP_WIDTHS:  # with one of these the same keys are an IP-Adapter Plus
        return None
    known, guesses = _which(clues) if face_dim == _INSTANTID.face_dim else (_INSTANTID, ())
    return known.spec(
        clues,
        face_dim=face_dim,
        tokens=tensors["image_proj.latents"].shape[-2],
        token_dim=tensors["image_proj.proj_out.weight"].shape[0],
        site_widths=widths,
        needs_control_net=known is not _PORTRAIT,
        default_weight=1.0 if known is _PORTRAIT else 0.8,
        guesses=guesses,
    )


def _which(clues):
    """Which of the two it is, and how that is known: they have the same keys and shapes."""
    chosen = clues.overrides.faces_512
    if chosen != "auto":
        return _PORTRAIT if chosen == "portrait" else _INSTANTID, (f"Kind: {chosen}, as chosen in faces_512",)
    known = _PORTRAIT if any(word in clues.name.lower() for word in ("portrait", "unnorm")) else _INSTANTID
    return known, (
        f"Kind: {known.family}, a guess by the file's name; InstantID and FaceID Portrait (un-normalised) have the "
        "same layout, so set faces_512 if it is wrong",
    )


class InstantID(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "InstantID", (_INSTANTID, _PORTRAIT)
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__(spec, **place)
        self.image_proj = resampler_of(tensors, "image_proj.", **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.image_proj(faces.vectors[None])  # several vectors are one longer sequence
