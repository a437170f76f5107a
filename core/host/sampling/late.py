"""From which step on a face is there that comes late: counted in steps, as the adapters' authors count."""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from .. import keys
from .spans import starts_at


def outer_sample(executor: WrapperExecutor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Around a run: the prompt with a face in it takes over from the plain one at a step, not at a noise level."""
    guider, sigmas = executor.class_obj, args[3].cpu()  # host read: once a run
    sampling = guider.model_patcher.get_model_object("model_sampling")
    for entries in guider.conds.values():
        for entry in entries:
            _by_steps(entry, sigmas, sampling)
    return executor(*args, **kwargs)


def _by_steps(entry, sigmas, sampling):
    """Turn the range that IDTextEncode wrote into noise levels; one that another node wrote over it, or a prompt that
    hooks schedule, stays."""
    share = entry.get(keys.MERGE_AT)
    if share is None or "clip_start_percent" in entry:
        return
    span = entry.get("start_percent"), entry.get("end_percent")
    if span == (0.0, share):
        entry["timestep_end"] = starts_at(share, sigmas, sampling)
    elif span == (share, 1.0):
        entry["timestep_start"] = starts_at(share, sigmas, sampling)
    else:
        return
    del entry["start_percent"], entry["end_percent"]


def count_steps(model: ModelPatcher):
    """Make `model`, a clone of the caller's own, count so in every run; adapters that were chained count once."""
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, keys.LATE)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, keys.LATE, outer_sample)
