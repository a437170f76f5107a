"""Facelets' bare networks, for training: whatever the memory held is in them, so initialise every parameter."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .pack import file_of, module

CHANNELS = 16  # of the latents, as FLUX has them


def write_finished(name: str, weights: Mapping[str, Tensor], summary: dict, **metadata: str):
    """A file of what a stage leaves: numbers in float16, and how it was trained."""
    halves = {key: (value.half() if value.is_floating_point() else value).contiguous()
              for key, value in weights.items()}  # fmt: skip
    path = file_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, path, {**metadata, "likeness.training": json.dumps(summary)})


def read_finished(name: str) -> dict[str, Tensor]:
    """Weights of a file that a stage left, in fp32."""
    path = file_of(name)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: delete the account of the stage that makes it, and train that again."
        )
    return {key: value.float() for key, value in load_file(path).items()}


def new_unet() -> nn.Module:
    """forward(x [B,16,h,w], timesteps [B], context [B,T,128]) -> predicted velocity [B,16,h,w]."""
    unet = module("comfy.ldm.modules.diffusionmodules.openaimodel").UNetModel
    return unet(**sizes().UNET, dtype=torch.float32, device="cpu", operations=_operations())


def new_control_net() -> nn.Module:
    """forward(x, hint [B,3,8h,8w] in 0..1, timesteps, context) -> {"output": [6 residuals], "middle": [1]}."""
    control_net = module("comfy.cldm.cldm").ControlNet
    return control_net(**sizes().CONTROL_NET, dtype=torch.float32, device="cpu", operations=_operations())


def new_autoencoder() -> nn.Module:
    """encode(pictures [B,3,H,W] in -1..1) -> latents [B,16,H/8,W/8]; decode is the way back."""
    return module("core.host.facelets.autoencoder").FaceletsAutoencoder()


def new_text_encoder() -> nn.Module:
    """forward(tokens [B,77]) -> (context [B,77,128], ...); its keys are those of the file."""
    text = module("comfy.clip_model").CLIPTextModel(sizes().TEXT_ENCODER, torch.float32, "cpu", _operations())
    for layer in text.text_model.encoder.layers:
        layer.forward = partial(_without_writing_over, layer)
    text.text_projection = nn.Identity()
    return text


def _without_writing_over(layer: nn.Module, x: Tensor, mask=None, optimized_attention=None) -> Tensor:
    """What ComfyUI's layer does; that one adds in place, which autograd does not forgive."""
    x = x + layer.self_attn(layer.layer_norm1(x), mask, optimized_attention)
    return x + layer.mlp(layer.layer_norm2(x))


def align(images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Chips [B, 3, 64, 64] of one face in each image [B, H, W, 3] and their transforms, by FaceEncoder's alignment."""
    drawn = module("core.facelets.detection")
    return cut_out(images, landmarks, drawn.TEMPLATE, drawn.CHIP_SIZE)


def cut_out(images: Tensor, landmarks: Tensor, template: Sequence, size: int) -> tuple[Tensor, Tensor]:
    """Chips [B, 3, size, size] of one face in each image [B, H, W, 3], its landmarks [B, 5, 2] where the template has
    them, and their transforms."""
    geometry = module("core.faces.align.transforms")
    matrices = geometry.similarity_transform(landmarks, torch.tensor(template, device=landmarks.device))
    numbers = torch.arange(len(images), device=images.device)
    return geometry.warp(images, numbers, matrices, size, antialias=True), matrices


def sizes() -> ModuleType:
    """The pack's sizes of Facelets' networks, and what their files are called by."""
    return module("core.host.facelets.config")


def _operations():
    return module("comfy.ops").disable_weight_init
