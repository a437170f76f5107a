"""Weights under ComfyUI's own memory management: loaded, counted, offloaded and freed with everything else."""

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

OPERATIONS = comfy.ops.manual_cast  # layers that cast their weights to the input's dtype and device at call time
# ComfyUI with dynamic VRAM wants its own patcher class, named CoreModelPatcher; older ones have one class only.
_Patcher = vars(comfy.model_patcher).get("CoreModelPatcher", ModelPatcher)


def managed(
    module: nn.Module, again: Callable[[], Any] | None = None, disable_dynamic: bool = False
) -> ModelPatcher:  # fmt: skip
    """A ModelPatcher around a module, on the compute device when loaded and on the offload device otherwise.

    `again()` makes the module anew, for ComfyUI's copies on a second device; `disable_dynamic` is its word for a
    patcher without dynamic VRAM.
    """
    offload_device = mm.unet_offload_device()
    patcher = ModelPatcher if disable_dynamic else _Patcher
    made = patcher(module.to(offload_device), load_device=mm.get_torch_device(), offload_device=offload_device)
    if again is not None:
        made.cached_patcher_init = (_managed_again, (again,))
    return made


def managed_from(make: Callable[[], nn.Module]) -> ModelPatcher:
    """`managed` around what `make()` makes, now and whenever ComfyUI needs it once more."""
    return managed(make(), make)


def _managed_again(again, disable_dynamic: bool = False):
    """As ComfyUI calls what is in `cached_patcher_init` (since 0.15.1; older ones never do)."""
    return managed(again(), again, disable_dynamic)


def half_precision() -> torch.dtype:
    """What a face descriptor is computed in: half precision where that is faster, float32 elsewhere.

    float16 on GPUs that ComfyUI itself would use it on, bfloat16 on processors with instructions for it.
    """
    device = mm.get_torch_device()
    if device.type == "cpu":
        # torch has no public word for it, and older ones have none at all
        has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return torch.bfloat16 if has_bfloat16() else torch.float32
    return torch.float16 if device.type == "cuda" and mm.should_use_fp16(device) else torch.float32


def loaded(patcher: ModelPatcher) -> Any:
    """Load a patcher's weights for use right now and return its module."""
    mm.load_models_gpu([patcher])
    return patcher.model


def check_interrupted() -> None:
    """Stop here if the artist pressed cancel."""
    mm.throw_exception_if_processing_interrupted()
