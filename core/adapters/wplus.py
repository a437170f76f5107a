"""W+ adapter (Li, Hou, Loy 2024): the face as StyleGAN's W+ code, 18 rows of 512 numbers that e4e finds.

`w_proj.proj_0..3.weight` make one token each of rows 0-3, 4-7, 8-11 and 12-17, `w_proj.norm` follows. At every site
`wplus_adapter.{n}.to_{q,k,v}_wplus.weight` attend to them with queries made of what the attention to the prompt gave:
`h = text; h + weight * attention(to_q(h), to_k(tokens), to_v(tokens))`. The unconditional half gets a code of zeros.
"""

import torch
from torch import nn

from ..attention.residuals import AttendFromText
from ..layer_types import Device, Dtype, Operations
from .bases import SD15
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .ip_layout import SiteKV, site_widths
from .spec import AdapterSpec, Clues, Known, LoRA, PublishedFile, Tensors

ROWS = (4, 4, 4, 6)  # of the code, for each token
_K_V, _Q = ("to_k_wplus", "to_v_wplus"), "to_q_wplus"
_SITES = "wplus_adapter."
# Training's checkpoints name the sites as IP-Adapter's do, and hold the U-Net that they were trained on: `unet.*`.
_TRAINING_SITES = "ip_adapter."
_WPLUS = Known(
    family="wplus", title="W+", kind="a W+ adapter", files=(PublishedFile("wplus_adapter.bin", SD15, "wplus_sd15"),),
    folder="likeness", source="csxmli2016/w-plus-adapter on GitHub",
    licence="S-Lab License 1.0, for non-commercial use", face_space="e4e",
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are a W+ adapter's, else None; KeyError names a tensor that is missing."""
    if "w_proj.proj_0.weight" not in tensors:
        return None
    token_dim, width = tensors["w_proj.norm.weight"].shape[0], tensors["w_proj.proj_0.weight"].shape[1]
    return _WPLUS.spec(
        clues,
        face_dim=width // ROWS[0] * sum(ROWS),
        tokens=len(ROWS),
        token_dim=token_dim,
        site_widths=site_widths(_published(tensors), _K_V, _SITES[:-1]),
        counts_steps=True,
        guesses=(
            "e4e is the file e4e_ffhq_encode.pt in models/face_encoders; choose it in LoadFaceEncoder",
            "Published with a late start: start_at 0.2 leaves the composition to the prompt",
            "Published with faces on white; a photograph with a plain, light background comes close",
            "EditIdentity changes age, smile and more before the face goes in",
        ),
    )


def _published(tensors):
    return {
        key.replace(_TRAINING_SITES, _SITES, 1) if key.startswith(_TRAINING_SITES) else key: tensor
        for key, tensor in tensors.items()
    }


class Projection(nn.Module):
    """W+ codes [N, 18 * width] -> tokens [N, 4, token_dim]."""

    def __init__(
        self, width: int, token_dim: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        self._lengths = [count * width for count in ROWS]
        for number, length in enumerate(self._lengths):
            layer = operations.Linear(length, token_dim, bias=False, device=device, dtype=dtype)
            setattr(self, f"proj_{number}", layer)
        self.norm = operations.LayerNorm(token_dim, device=device, dtype=dtype)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        groups = codes.split(self._lengths, dim=-1)
        tokens = [getattr(self, f"proj_{number}")(group) for number, group in enumerate(groups)]
        return self.norm(torch.stack(tokens, 1))


class WPlus(IDAdapter):
    """The whole adapter; parameter names are the checkpoint's."""

    named, known = "W+", (_WPLUS,)
    recognise = staticmethod(recognise)

    def __init__(
        self, spec: AdapterSpec, tensors: Tensors, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self.spec = spec
        place = {"device": device, "dtype": dtype, "operations": operations}
        self.w_proj = Projection(spec.face_dim // sum(ROWS), spec.token_dim, **place)
        self.wplus_adapter = SiteKV(spec.token_dim, spec.site_widths, _K_V, **place)
        for site, width in zip(self.wplus_adapter.values(), spec.site_widths, strict=True):
            site.add_module(_Q, operations.Linear(width, width, bias=False, device=device, dtype=dtype))

    @classmethod
    def split(cls, tensors: Tensors) -> tuple[Tensors, LoRA]:
        return super().split(_published(tensors))

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.w_proj(faces.vectors).flatten(0, 1)[None]

    def keys_values(self, tokens: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return self.wplus_adapter(tokens)

    def sites(self, tokens: torch.Tensor, choices: Choices = DEFAULTS) -> list[nn.Module]:
        queries = (site.get_parameter(f"{_Q}.weight") for site in self.wplus_adapter.values())
        return [AttendFromText(k, v, q) for (k, v), q in zip(self.keys_values(tokens), queries, strict=True)]
