"""Tiny SD1.5 and SDXL as ComfyUI MODELs."""

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher

from .likeness_tiny_models.configs import model_config
from .weights import fill, make_denoiser


def base_model(kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, device="cpu", compute=None):
    """ComfyUI's BaseModel ("sd15") or SDXL ("sdxl") around its own UNetModel with random weights."""
    model = fill(model_config(kind, dtype, compute).get_model({}, device=torch.device(device)), seed)
    make_denoiser(model.diffusion_model)
    return model


def unet(kind: str, seed: int = 0, dtype: torch.dtype = torch.float32, compute=None) -> ModelPatcher:
    """A MODEL as a checkpoint loader gives it, on the offload device; `compute` for weights stored in fp8.

    "sd15": context [B,T,48], 16 cross-attention sites. "sdxl": context [B,T,64], pooled text [B,32], 70 sites.
    """
    model = base_model(kind, seed, dtype, mm.unet_offload_device(), compute)
    return ModelPatcher(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())
