"""InstantID (Wang et al. 2024), and IP-Adapter FaceID Portrait for un-normalised vectors, which has the same layout.

The checkpoint holds `image_proj.*` (a Resampler, dim_head 64: 16 identity tokens from one face vector) and
`ip_adapter.{n}.to_k_ip|to_v_ip.weight` for every cross-attention site. The unconditional half gets Resampler(zeros),
and InstantID's landmark ControlNet (IdentityNet) sees only the identity tokens. Vectors go in un-normalised.
"""

import torch
from torch import nn

from ..weights import CLIP_WIDTHS
from .base import DEFAULTS, AdapterSpec, Choices, Clues, FaceInput
from .ip_layout import SiteAdapter, Tensors, site_widths
from .resampler import resampler_of

# 512 numbers without a word on where from: as published, trained on InsightFace's recognisers.
_FACES_512 = 512
_SPACES = {"instantid": "antelopev2-glintr100", "portrait": "buffalo_l-w600k_r50"}


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are InstantID's, else None; KeyError names a site's tensor that is missing."""
    if not {"image_proj.latents", "image_proj.proj_in.weight", "image_proj.proj_out.weight"} <= tensors.keys():
        return None
    widths = site_widths(tensors)
    face_dim = tensors["image_proj.proj_in.weight"].shape[-1]
    if not widths or face_dim in CLIP_WIDTHS:  # with one of these the same keys are an IP-Adapter Plus
        return None
    which, guesses = _which(face_dim, clues)
    space = _SPACES[which] if face_dim == _FACES_512 else None
    return AdapterSpec(
        family=which,
        title={"instantid": "InstantID", "portrait": "IP-Adapter FaceID Portrait (un-normalised)"}[which],
        face_space=clues.metadata.get("likeness.face_space") or space,
        face_dim=face_dim,
        tokens=tensors["image_proj.latents"].shape[-2],
        token_dim=tensors["image_proj.proj_out.weight"].shape[0],
        site_widths=widths,
        needs_control_net=which == "instantid",
        licence=clues.metadata.get("license")
        or "Apache-2.0 adapter; InsightFace's face models are for non-commercial research",
        default_weight=0.8 if which == "instantid" else 1.0,
        guesses=guesses,
    )


def _which(face_dim, clues):
    """ "instantid" or "portrait", and how that is known: the two have the same keys and shapes."""
    chosen = clues.overrides.faces_512
    if face_dim != _FACES_512 or clues.metadata.get("likeness.family"):
        return "instantid", ()
    if chosen != "auto":
        return chosen, (f"Kind: {chosen}, as chosen in faces_512",)
    which = "portrait" if any(word in clues.name.lower() for word in ("portrait", "unnorm")) else "instantid"
    return which, (
        f"Kind: {which}, a guess by the file's name; InstantID and FaceID Portrait (un-normalised) have the same "
        "layout, so set faces_512 if it is wrong",
    )


class InstantID(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    def __init__(self, spec: AdapterSpec, tensors: Tensors, device=None, dtype=None, operations=nn):
        place = {"device": device, "dtype": dtype, "operations": operations}
        super().__init__(spec, **place)
        self.image_proj = resampler_of(tensors, "image_proj.", **place)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.image_proj(faces.vectors[None])  # several vectors are one longer sequence
