"""PhotoMaker (Li et al. 2024) for SDXL, versions 1 and 2: photographs become tokens that are fused into the prompt.

The checkpoint holds `id_encoder.*`, a CLIP-L vision tower of its own with a fuse module, and `lora_weights.*` for the
U-Net. Version 1 makes one token of each photograph: `[W1 pooled ; W2 pooled]`. Version 2 makes two: face vectors
through an MLP, plus what these see in the tower's last hidden states (dim_head 128). The picture goes in as it is, the
face vector un-normalised. The negative prompt stays without an identity.
"""

import re
from dataclasses import replace

import torch
from torch import nn

from ..layer_types import Device, Dtype, Operations
from ..vision.clip_tower import ClipTower, clip_pixels
from .bases import SDXL
from .faceid import FacePerceiver
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .fuse import FuseModule
from .spec import AdapterSpec, Clues, Known, Look, LoRA, PublishedFile, Tensors

_ENCODER, _LORA = "id_encoder.", "lora_weights."
_TOWER, _QUERIES = "vision_model.", "qformer_perceiver."
_LAYER = re.compile(r"qformer_perceiver\.perceiver_resampler\.layers\.(\d{1,2})\.")
# An attention's layer in a LoRA as diffusers and peft have named it over the years; the first is what ComfyUI reads.
_ATTENTION = re.compile(r"\.(attn[12])\.(?:processor\.)?(to_[qkv]|to_out)(?:\.0)?(?=[._]lora|\.alpha)")
# What peft's wrapper of the U-Net puts before a layer's path.
_PEFT = re.compile(r"^(?:unet\.)?base_model\.model\.(?:unet\.)?")
_DIM_HEAD = 128
_PROMPT_TOKENS = 75  # of one of CLIP's contexts: no prompt holds more
_FIRST = Known(
    family="photomaker", title="PhotoMaker", kind="a PhotoMaker adapter",
    files=(PublishedFile("photomaker-v1.bin", SDXL, "photomaker_v1_id_encoder"),), folder="photomaker",
    source="TencentARC/PhotoMaker", licence="Apache-2.0",
)  # fmt: skip
_SECOND = replace(
    _FIRST, title="PhotoMaker V2", files=(PublishedFile("photomaker-v2.bin", SDXL, "photomaker_v2_id_encoder"),),
    source="TencentARC/PhotoMaker-V2",
    licence="Apache-2.0; InsightFace's face models are for non-commercial research", face_space="buffalo_l-w600k_r50",
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are PhotoMaker's, else None; KeyError names a tensor that is missing.

    The encoder alone, as files without the LoRA have it, counts too.
    """
    prefix = _prefix(tensors)
    if prefix is None:
        return None
    token_dim = tensors[f"{prefix}fuse_module.layer_norm.weight"].shape[0]
    second = any(key.startswith(prefix + _QUERIES) for key in tensors)
    face_dim, each = 0, 1
    if second:
        face_dim = tensors[f"{prefix}{_QUERIES}token_proj.0.weight"].shape[-1]
        each = tensors[f"{prefix}{_QUERIES}token_proj.2.weight"].shape[0] // max(1, token_dim)
    guesses = [
        "Prompt: the trigger right behind the word for the person, as in: photo of a woman img",
        "ApplyIDAdapter brings its LoRA alone, by lora_strength: weight 0 switches it off, attn_mask changes nothing",
    ]
    if not any(key.startswith(_LORA) for key in tensors):
        guesses.append("LoRA in the file: none, though the published one has it; without, the face is weak")
    return (_SECOND if second else _FIRST).spec(
        clues,
        face_dim=face_dim,
        tokens=each,
        token_dim=token_dim,
        site_widths=(),
        each=max(1, _PROMPT_TOKENS // max(1, each)),
        look=Look(None, "whole", 224),
        in_prompt=True,
        guesses=tuple(guesses),
    )


def _prefix(tensors):
    found = (prefix for prefix in (_ENCODER, "") if f"{prefix}visual_projection_2.weight" in tensors)
    return next(found, None)


class _Queries(nn.Module):
    """Version 2's tokens: face vectors [N,D] and the tower's hidden states [N,S,W] -> [N,T,token_dim]."""

    def __init__(self, tensors: Tensors, width, token_dim, device=None, dtype=None, operations=nn):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        hidden = tensors[f"{_QUERIES}token_proj.0.weight"].shape[0]
        face_dim = tensors[f"{_QUERIES}token_proj.0.weight"].shape[-1]
        out = tensors[f"{_QUERIES}token_proj.2.weight"].shape[0]
        inner = tensors[f"{_QUERIES}perceiver_resampler.layers.0.0.to_q.weight"].shape[0]
        if not out or out % token_dim or not inner or inner % _DIM_HEAD:
            raise RuntimeError(f"{out} numbers and attention width {inner} make no tokens of {token_dim}")
        depth = 1 + max(int(match[1]) for key in tensors if (match := _LAYER.match(key)))
        self.token_proj = nn.Sequential(
            operations.Linear(face_dim, hidden, **place), nn.GELU(), operations.Linear(hidden, out, **place)
        )
        self.token_norm = operations.LayerNorm(token_dim, **place)
        self.perceiver_resampler = FacePerceiver(
            token_dim, inner, depth, width, _DIM_HEAD, operations=operations, **place
        )

    def forward(self, vectors: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        tokens = self.token_proj(vectors).unflatten(-1, (-1, self.token_norm.weight.shape[0]))
        tokens = self.token_norm(tokens)
        return tokens + self.perceiver_resampler(tokens, hidden)


class PhotoMaker(IDAdapter):
    """The whole adapter; parameter names are those of `id_encoder`."""

    named, known = "PhotoMaker", (_FIRST, _SECOND)
    recognise = staticmethod(recognise)

    def __init__(
        self, spec: AdapterSpec, tensors: Tensors, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self.spec = spec
        place = {"device": device, "dtype": dtype, "operations": operations}
        tower = {key.removeprefix(_TOWER): tensor for key, tensor in tensors.items() if key.startswith(_TOWER)}
        self.vision_model = ClipTower(tower, **place)
        width = tower["post_layernorm.weight"].shape[0]
        outs = [tensors[f"visual_projection{number}.weight"].shape[0] for number in ("", "_2")]
        if sum(outs) != spec.token_dim:
            raise RuntimeError(f"{outs} numbers are no token of {spec.token_dim}")
        # version 2 has both too, and no use for them
        self.visual_projection, self.visual_projection_2 = (
            operations.Linear(width, out, bias=False, device=device, dtype=dtype) for out in outs
        )
        self.fuse_module = FuseModule(spec.token_dim, **place)
        self.qformer_perceiver = _Queries(tensors, width, spec.token_dim, **place) if spec.face_dim else None

    @classmethod
    def split(cls, tensors: Tensors) -> tuple[Tensors, LoRA]:
        """The encoder's tensors under its own names, and the LoRA under the names that ComfyUI reads."""
        prefix, encoder, lora = _prefix(tensors), {}, {}
        for key, tensor in tensors.items():
            if key.startswith(_LORA):
                name = _PEFT.sub("unet.", key.removeprefix(_LORA))
                lora[_ATTENTION.sub(r".\1.processor.\2", name)] = tensor
            elif not key.endswith(".position_ids"):  # counts 0, 1, 2 and so on; older transformers stored it
                encoder[key.removeprefix(prefix)] = tensor
        return encoder, LoRA(by_name=lora)

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        """Photographs [N,3,H,W], RGB in 0..1, in `faces.seen`, and version 2's vectors [N,D] -> [1,N*T,token_dim]."""
        pictures = faces.seen.hidden[0]
        hidden = self.vision_model(clip_pixels(pictures.float(), self.vision_model.size).to(pictures.dtype))
        if self.qformer_perceiver is not None:
            return self.qformer_perceiver(faces.vectors, hidden).flatten(0, 1)[None]
        pooled = self.vision_model.pooled(hidden)
        return torch.cat([self.visual_projection(pooled), self.visual_projection_2(pooled)], -1)[None]

    def fuse(self, words: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The class word's copies in the prompt [1,N*T,token_dim], with the identity's tokens in them."""
        return self.fuse_module(words, tokens)
