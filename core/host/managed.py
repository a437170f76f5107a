"""Weights under ComfyUI's own memory management: loaded, counted, offloaded and freed with everything else."""

import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops

OPERATIONS = comfy.ops.manual_cast  # layers that cast their weights to the input's dtype and device at call time
# ComfyUI with dynamic VRAM wants its own patcher class, named CoreModelPatcher; older ones have one class only.
_Patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)


def managed(module):
    """A ModelPatcher around a module, on the compute device when loaded and on the offload device otherwise."""
    offload_device = mm.unet_offload_device()
    return _Patcher(module.to(offload_device), load_device=mm.get_torch_device(), offload_device=offload_device)


def loaded(patcher):
    """Load a patcher's weights for use right now and return its module."""
    mm.load_models_gpu([patcher])
    return patcher.model


def check_interrupted():
    """Stop here if the artist pressed cancel."""
    mm.throw_exception_if_processing_interrupted()
