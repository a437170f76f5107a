"""Tiny FLUX and Chroma as ComfyUI MODELs: its own classes with 19 double and 38 single blocks, narrow channels."""

import comfy.model_management as mm
import torch
from comfy.model_patcher import ModelPatcher
from comfy.supported_models import Chroma, Flux, FluxSchnell
from comfy_versions import flux_settings

from .weights import fill

WIDTH, HEADS, TEXT, POOLED, CHANNELS, PATCH = 64, 2, 32, 24, 16, 2
DOUBLE, SINGLE = 19, 38
_COMMON = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "context_in_dim": TEXT,
    "hidden_size": WIDTH,
    "mlp_ratio": 4.0,
    "num_heads": HEADS,
    "depth": DOUBLE,
    "depth_single_blocks": SINGLE,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": PATCH,
    "qkv_bias": True,
}
_FLUX = {**_COMMON, "image_model": "flux", "vec_in_dim": POOLED}
_CHROMA = {
    **_COMMON,
    "image_model": "chroma",
    "in_channels": CHANNELS * PATCH**2,
    "out_channels": CHANNELS * PATCH**2,
    "in_dim": 64,
    "out_dim": WIDTH,
    "hidden_dim": 48,
    "n_layers": 2,
}
_FULL = {"context_in_dim": 4096, "vec_in_dim": 768, "hidden_size": 3072, "num_heads": 24, "axes_dim": [16, 56, 56]}
_KINDS = {
    "flux": (Flux, {**_FLUX, "guidance_embed": True}),
    "schnell": (FluxSchnell, {**_FLUX, "guidance_embed": False}),
    "chroma": (Chroma, _CHROMA),
    "flux_full": (Flux, {**_FLUX, **_FULL, "guidance_embed": True}),
}
_BRANCHES = 0.3  # of what a block adds: 57 blocks of random weights would shake every rounding error up


def config(kind: str, **changed) -> dict:
    """What the transformer's class is made of."""
    found = {**_KINDS[kind][1], **changed}
    return found | flux_settings("chroma" if kind == "chroma" else "flux")


def base_model(kind: str = "flux", seed: int = 0, dtype: torch.dtype = torch.float32, device="cpu", compute=None):
    """ComfyUI's BaseModel around its own transformer with random weights: "flux", "schnell" or "chroma"."""
    made = _KINDS[kind][0](config(kind))
    made.set_inference_dtype(dtype, compute)
    model = fill(made.get_model({}, device=torch.device(device)), seed)
    for name, parameter in model.diffusion_model.named_parameters():
        if "mod.lin.weight" in name or "modulation.lin.weight" in name:
            parameter.data.mul_(_BRANCHES)
    return model


def full() -> ModelPatcher:
    """FLUX.1 in its full size, for benchmarks: 12 GB, random weights stored in fp8, computing in single precision."""
    made = _KINDS["flux_full"][0](config("flux_full"))
    made.set_inference_dtype(torch.float8_e4m3fn, torch.float32)
    model = made.get_model({}, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.diffusion_model.named_parameters():
        some = torch.randn(min(parameter.numel(), 1 << 20), generator=generator)
        some = some * parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.05 * some + name.endswith("scale")
        for part in parameter.data.view(-1).split(len(some)):  # a whole one at once would take four times the memory
            part.copy_(some[: len(part)])
    return ModelPatcher(
        model.requires_grad_(False), load_device=torch.device("cpu"), offload_device=torch.device("cpu")
    )


def flux(kind: str = "flux", seed: int = 0, dtype: torch.dtype = torch.float32, compute=None) -> ModelPatcher:
    """A MODEL as a loader gives it, on the offload device; `compute` for weights stored in fp8.

    Context [B,T,32], pooled text [B,24], latents of 16 channels, 57 blocks of 64 channels.
    """
    model = base_model(kind, seed, dtype, mm.unet_offload_device(), compute)
    return ModelPatcher(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())
