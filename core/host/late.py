"""From which step on a face is there that comes late: counted in steps, as the adapters' authors count."""

from comfy.patcher_extension import WrappersMP

KEY = "likeness_late"
MERGE_KEY = "likeness_merge_at"  # on a conditioning: from which share (0..1) of the denoising on it has the face in it
_INTO_THE_STEP = 0.01  # of the way up to the step before: no sampler's own rounding of noise levels counts as earlier


def starts_at(share: float, sigmas, sampling) -> float:
    """The noise level from which downwards a face is there that comes at a share (0..1, neither) of the denoising.

    PhotoMaker, ConsistentID and the W+ adapter go without it in the steps `i <= int(share * steps)`, i from 0. So it is
    in whole runs, which lead from the model's highest noise level to none; in others (img2img, KSamplerAdvanced's
    parts) the first step is not the first of the denoising, and it is the noise level of the share, as in ComfyUI's own
    ranges. `sigmas`: the run's, on the CPU; `sampling`: the model's model_sampling.
    """
    steps = len(sigmas) - 1
    if steps < 1 or sigmas[-1] > 0 or sigmas[0] < sampling.percent_to_sigma(1 / steps):
        return sampling.percent_to_sigma(share)
    first = int(share * steps) + 1
    return float(sigmas[first] + _INTO_THE_STEP * (sigmas[first - 1] - sigmas[first]))


def outer_sample(executor, *args, **kwargs):
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
    share = entry.get(MERGE_KEY)
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


def count_steps(model):
    """Make `model`, a clone of the caller's own, count so in every run; adapters that were chained count once."""
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
