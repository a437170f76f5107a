"""Parts of the denoising, from share to share, and the noise levels that they mean in a run.

As ComfyUI's own ranges, they are worked out when sampling starts: nodes behind ours may change the schedule.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

FOREVER = (math.inf, 0.0)  # from before the first noise level, whichever that is: 14.6 in SD, 1 in flow models
_INTO_THE_STEP = 0.01  # of the way up to the step before: no sampler's own rounding of noise levels counts as earlier


@dataclass(frozen=True)
class Span:
    """A part of the denoising, in shares 0..1, and the noise levels (from, to) that it meant when the node ran: they
    count in samplers that go around ComfyUI's own, where no run tells better. `counts_steps`: see `starts_at`."""

    start_at: float
    end_at: float
    levels: tuple[float, float] = FOREVER
    counts_steps: bool = False


def span_of(model: ModelPatcher, start_at: float, end_at: float, counts_steps: bool = False) -> Span:
    """The Span on a MODEL."""
    levels = levels_of(model.get_model_object("model_sampling"), start_at, end_at)
    return Span(start_at, end_at, levels, counts_steps)


def levels_of(sampling: Any, start_at: float, end_at: float, sigmas: torch.Tensor | None = None) -> tuple[float, float]:
    """The noise levels (from, to) of a part of the denoising, the former the higher one; FOREVER's ends for 0 and 1.

    `sigmas`: a run's, on the CPU, where the start counts its steps.
    """
    upper, lower = FOREVER
    if start_at > 0:
        upper = float(sampling.percent_to_sigma(start_at) if sigmas is None else starts_at(start_at, sigmas, sampling))
    return upper, lower if end_at >= 1 else float(sampling.percent_to_sigma(end_at))


def starts_at(share: float, sigmas: torch.Tensor, sampling: Any) -> float:
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
