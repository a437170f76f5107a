"""MasterWeaver for SD1.5 (Wei et al. 2024): 16 identity tokens from CLIP's look at each of up to three faces.

The checkpoint holds `id_encoder.*` (a resampler with a last attention among the tokens) and
`adapter_modules.{n}.to_k_img|to_v_img.weight`, n = 1, 3, 5, ... over the sites in the order down, up, middle. There are
always 48 tokens: those of an empty picture stand in for photographs that are not there, and are all that nobody has.
"""

from typing import Any

import torch
import torch.nn.functional as F

from .bases import SD15
from .family import DEFAULTS, Choices, FaceInput
from .ip_layout import SiteAdapter, site_widths
from .resampler import PerceiverAttention, Resampler, resampler_of
from .spec import AdapterSpec, Clues, Known, Look, PublishedFile, Tensors

_PHOTOGRAPHS = 3
_NAMES = ("to_k_img", "to_v_img")
_MASTERWEAVER = Known(
    family="masterweaver", title="MasterWeaver", kind="a MasterWeaver adapter",
    files=(PublishedFile("adapter_final.pt", SD15, "masterweaver_sd15"),), folder="likeness",
    source="Google Drive, csyxwei/MasterWeaver on GitHub", licence="Apache-2.0",
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when the keys are MasterWeaver's, else None; KeyError names a tensor that is missing."""
    if "id_encoder.final_attn.to_q.weight" not in tensors and not any(".to_k_img." in key for key in tensors):
        return None
    return _MASTERWEAVER.spec(
        clues,
        tokens=tensors["id_encoder.latents"].shape[1],
        token_dim=tensors["id_encoder.proj_out.weight"].shape[0],
        site_widths=site_widths(tensors, _NAMES),
        each=_PHOTOGRAPHS,
        look=Look(vision="clip-l", crop="ffhq", size=512, backdrop="face only"),
    )


class CrossAttention(PerceiverAttention):
    """Queries [B,Q,dim] look at the input [B,S,dim] alone."""

    def forward(self, x: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        q = self._split(self.to_q(self.norm2(latents)))
        k, v = (self._split(t) for t in self.to_kv(self.norm1(x)).chunk(2, dim=-1))
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class IDResampler(Resampler):
    """MasterWeaver's: no residual around a layer's attention, and a last one among the tokens after the norm."""

    def __init__(
        self, dim: int, inner: int, depth: int, queries: int, embedding_dim: int, output_dim: int, dim_head: int,
        **place: Any,
    ):  # fmt: skip
        super().__init__(dim, inner, depth, queries, embedding_dim, output_dim, dim_head, **place)
        self.final_attn = CrossAttention(output_dim, inner, dim_head, **place)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.proj_in(x)
        latents = self.latents.to(x).expand(x.shape[0], -1, -1)
        for layer in self.layers:
            attention, mlp = layer.children()
            latents = mlp(attention(x, latents)) + latents
        latents = self.norm_out(self.proj_out(latents))
        return self.final_attn(latents, latents) + latents


class MasterWeaver(SiteAdapter):
    """The whole adapter; parameter names are the checkpoint's, `ip_adapter` its adapter_modules."""

    named, known = "MasterWeaver", (_MASTERWEAVER,)
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__(spec, _NAMES, **place)
        self.id_encoder = resampler_of(tensors, "id_encoder.", **place, kind=IDResampler)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        (hidden,) = faces.seen.hidden
        tokens = self.id_encoder(hidden)
        missing = _PHOTOGRAPHS - len(tokens)
        if missing > 0:
            tokens = torch.cat([tokens, self.id_encoder(*faces.empty.hidden).expand(missing, -1, -1)])
        return tokens.flatten(0, 1)[None]
