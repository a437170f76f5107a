"""Tiny InfiniteYou in the published layouts, with random weights: the projection, and InfuseNet for the tiny FLUX."""

from unittest import mock

import torch
from layouts import shapes

from .ip_adapter import Numbers

FACE_DIM, DIM, QUERIES, LAYERS, TEXT = 512, 64, 8, 4, 32
_QUIET = 0.3  # of what InfuseNet says to the blocks, and of its own modulations, as tiny.flux does
# Each size of the published InfuseNet, and the tiny FLUX's.
_SIZES = {3072: 64, 12288: 256, 15360: 320, 9216: 192, 18432: 384, 128: 32, 4096: TEXT, 768: 24}


def infiniteyou(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"image_proj": Resampler} of 8 queries, 512 -> 32 numbers."""
    numbers = Numbers(seed + 80)
    resampler = {"latents": numbers.matrix(1, QUERIES, DIM)}
    resampler |= numbers.linear("proj_in", DIM, FACE_DIM) | numbers.linear("proj_out", TEXT, DIM)
    resampler |= numbers.norm("norm_out", TEXT) | numbers.perceiver_layers("", DIM, DIM, LAYERS)
    return {"image_proj": resampler}


def infusenet(seed: int = 0) -> dict[str, torch.Tensor]:
    """InfuseNet's file: every published key, with the tiny FLUX's sizes. What it adds to a block is of a sane size."""
    generator, tensors = torch.Generator().manual_seed(seed + 90), {}
    for key, shape in shapes()["infiniteyou_infusenet"].items():
        tensor = torch.randn([_SIZES.get(size, size) for size in shape], generator=generator)
        if tensor.ndim > 1:
            quiet = key.startswith(("controlnet_blocks.", "controlnet_single_blocks.")) or ".linear." in key
            tensor *= (_QUIET if quiet else 1) / tensor.shape[-1] ** 0.5
        else:
            tensor = 0.05 * tensor + float(".norm_" in key)
        tensors[key] = tensor
    return tensors


def loaded(tensors: dict[str, torch.Tensor]):
    """The ControlNet that ComfyUI's own loader makes of InfuseNet's file.

    ComfyUI 0.3.75 takes for granted that FLUX has 24 heads, so what it finds out of the sizes is told it here.
    """
    import comfy.controlnet
    import comfy.ops

    from . import flux

    class Sizes:
        unet_config = {**flux.config("flux"), "depth": 4, "depth_single_blocks": 10}

    cpu = torch.device("cpu")
    found = Sizes, comfy.ops.manual_cast, cpu, torch.float32, None, cpu
    with mock.patch.object(comfy.controlnet, "controlnet_config", lambda *_, **__: found):
        return comfy.controlnet.load_controlnet_state_dict({key: tensor.clone() for key, tensor in tensors.items()})
