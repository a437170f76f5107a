"""InstantID (Wang et al. 2024): 16 identity tokens from one face vector, K and V at every cross-attention site.

The checkpoint holds `image_proj.*` (a Resampler, dim_head 64) and `ip_adapter.{n}.to_k_ip|to_v_ip.weight`, n = 1, 3,
5, ... over the sites in the order down, up, middle. The unconditional half gets Resampler(zeros), and the landmark
ControlNet (IdentityNet) sees only the identity tokens. The face vector goes in un-normalised.
"""

import re
from collections.abc import Mapping

import torch
from torch import nn

from .base import DEFAULTS, AdapterSpec, Choices, Clues, FaceInput, IDAdapter
from .resampler import Resampler

_SITE = re.compile(r"ip_adapter\.(\d{1,4})\.to_[kv]_ip\.weight")
_LAYER = re.compile(r"image_proj\.layers\.(\d{1,2})\.")
_DIM_HEAD = 64
# Widths of CLIP vision features: with one of these the same keys are an IP-Adapter Plus, which takes a picture.
_CLIP_VISION_WIDTHS = (1024, 1280, 1664)
# 512 numbers without a word on where from: InstantID as published was trained on antelopev2's recogniser.
_PUBLISHED_SPACES = {512: "antelopev2-glintr100"}


def recognise(tensors: Mapping[str, torch.Tensor], clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are InstantID's, else None; KeyError names a site's tensor that is missing."""
    if not {"image_proj.latents", "image_proj.proj_in.weight", "image_proj.proj_out.weight"} <= tensors.keys():
        return None
    sites = _sites(tensors)
    face_dim = tensors["image_proj.proj_in.weight"].shape[-1]
    if not sites or face_dim in _CLIP_VISION_WIDTHS:
        return None
    metadata = clues.metadata
    return AdapterSpec(
        family="instantid",
        title="InstantID",
        face_space=metadata.get("likeness.face_space") or _PUBLISHED_SPACES.get(face_dim),
        face_dim=face_dim,
        tokens=tensors["image_proj.latents"].shape[-2],
        token_dim=tensors["image_proj.proj_out.weight"].shape[0],
        site_widths=tuple(tensors[f"ip_adapter.{n}.to_k_ip.weight"].shape[0] for n in sites),
        needs_control_net=True,
        licence=metadata.get("license")
        or "Apache-2.0 adapter; InsightFace's face models are for non-commercial research",
        default_weight=0.8,
    )


def _sites(tensors):
    """Checkpoint numbers of the sites, 1, 3, 5 and so on up to the highest there is."""
    return range(1, 1 + max((int(match[1]) for key in tensors if (match := _SITE.fullmatch(key))), default=0), 2)


class _SiteKV(nn.Module):
    def __init__(self, token_dim, width, device=None, dtype=None, operations=nn):
        super().__init__()
        self.to_k_ip = operations.Linear(token_dim, width, bias=False, device=device, dtype=dtype)
        self.to_v_ip = operations.Linear(token_dim, width, bias=False, device=device, dtype=dtype)


class InstantID(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    def __init__(self, spec: AdapterSpec, tensors: Mapping[str, torch.Tensor], device=None, dtype=None, operations=nn):
        super().__init__()
        self.spec = spec
        place = {"device": device, "dtype": dtype, "operations": operations}
        dim = tensors["image_proj.latents"].shape[-1]
        inner = tensors["image_proj.layers.0.0.to_q.weight"].shape[0]
        if not inner or inner % _DIM_HEAD:
            raise RuntimeError(f"attention width {inner} is no multiple of {_DIM_HEAD}")
        depth = 1 + max(int(match[1]) for key in tensors if (match := _LAYER.match(key)))
        self.image_proj = Resampler(dim, inner, depth, spec.tokens, spec.face_dim, spec.token_dim, _DIM_HEAD, **place)
        self.ip_adapter = nn.ModuleDict(
            {
                str(n): _SiteKV(spec.token_dim, width, **place)
                for n, width in zip(_sites(tensors), spec.site_widths, strict=True)
            }
        )

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS):
        return self.image_proj(faces.vectors[None])  # several vectors are one longer sequence

    def keys_values(self, tokens):
        return [(site.to_k_ip(tokens), site.to_v_ip(tokens)) for site in self.ip_adapter.values()]
