"""Tiny ConsistentID files in the published layouts of SD1.5 and SDXL."""

import torch

from .files import CONTEXT_DIM
from .ip_adapter import CLIP_WIDTH, Numbers, ip_adapter
from .photomaker import fuse_module

DIM, DEPTH = 64, 2  # of the Resampler for the parts


def consistentid(kind: str, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """The published dictionaries: SD1.5's projection is called "image_proj", SDXL's "image_proj_model"."""
    numbers, context = Numbers(seed + 90), CONTEXT_DIM[kind]
    stem = "visual_projection."
    encoder = {f"{stem}latents": 8 * numbers.matrix(1, 1, DIM)} | numbers.linear(f"{stem}proj_in", DIM, CLIP_WIDTH)
    encoder |= numbers.perceiver_layers(stem, DIM, DIM, DEPTH)
    encoder |= numbers.linear(f"{stem}proj_out", context, DIM) | numbers.norm(f"{stem}norm_out", context)
    encoder |= fuse_module(numbers, "fuse_module.", context)
    faceid = ip_adapter("faceid-plus", kind, seed)
    projection = "image_proj" if kind == "sd15" else "image_proj_model"
    return {"FacialEncoder": encoder, projection: faceid["image_proj"], "adapter_modules": faceid["ip_adapter"]}
