"""InfiniteYou for FLUX (Jiang et al. 2025): the person is read by a ControlNet of their own, InfuseNet.

The checkpoint holds `image_proj.*`: a Resampler (dim 1280, 20 heads of 64, 4 layers) that makes 8 identity tokens of a
face vector. InfuseNet has them in place of the prompt, beside a picture of drawn landmarks, and adds to every block of
the model; nothing else does. Two stages are published, whose files are alike. There is nobody: rows without identity
have no InfuseNet.
"""

from typing import Any

import torch

from ..weights import is_infiniteyou
from .bases import FLUX
from .family import DEFAULTS, Choices, FaceInput, IDAdapter
from .resampler import resampler_of
from .spec import AdapterSpec, Clues, Known, PublishedFile, Tensors

_LAYERS = 4  # of the Resampler: they are the file's last tensors, so a file that was cut off may have fewer
_KNOWN = Known(
    family="infiniteyou", title="InfiniteYou", kind="an InfiniteYou adapter",
    files=(
        PublishedFile("aes_stage2/image_proj_model.bin", FLUX, "infiniteyou_image_proj"),
        PublishedFile("sim_stage1/image_proj_model.bin", FLUX, "infiniteyou_image_proj"),
    ),
    folder="infinite_you", source="ByteDance/InfiniteYou",
    licence="CC-BY-NC 4.0 weights, FLUX.1-dev is for non-commercial use",
    face_space="arcface-ir-se50", face_dim=512,
)  # fmt: skip


def recognise(tensors: Tensors, clues: Clues) -> AdapterSpec | None:
    """The spec when keys and shapes are InfiniteYou's, else None; KeyError names a tensor that is missing."""
    if not is_infiniteyou(tensors):
        return None
    face_dim = tensors["image_proj.proj_in.weight"].shape[-1]
    return _KNOWN.spec(
        clues,
        face_dim=face_dim,
        tokens=tensors["image_proj.latents"].shape[-2],
        token_dim=tensors["image_proj.proj_out.weight"].shape[0],
        site_widths=(),
        normalised=True,
        needs_control_net=True,
        default_weight=1.0,
        of=FLUX,
        guesses=(
            "The likeness comes through InfuseNet alone: load infusenet_aes_bf16.safetensors or "
            "infusenet_sim_bf16.safetensors, of the same stage as this file, with Load ControlNet Model",
            "weight multiplies LandmarkControl's strength; weight_type stays linear",
        ),
    )


class InfiniteYou(IDAdapter):
    """The projection; parameter names are the checkpoint's."""

    named, known = "InfiniteYou", (_KNOWN,)
    recognise = staticmethod(recognise)

    def __init__(self, spec: AdapterSpec, tensors: Tensors, **place: Any):
        super().__init__()
        self.spec = spec
        self.image_proj = resampler_of(tensors, "image_proj.", **place)
        if len(self.image_proj.layers) != _LAYERS:
            raise RuntimeError(f"it has {len(self.image_proj.layers)} layers, where {_LAYERS} belong")

    def project(self, faces: FaceInput, choices: Choices = DEFAULTS) -> torch.Tensor:
        return self.image_proj(faces.vectors[None])  # several vectors are one longer sequence
