"""Context windows: SD1.5 without a motion model draws each frame by itself, so windows must change nothing.

ComfyUI 0.3.75 can cut the first dimension into windows only where frames are as many as noise levels, one more than
steps: four frames are sampled in three steps.
"""

import torch
from host_cases import randn

from ..bench import EVERY, SIZE
from ..cases import Outcome, case

_FRAMES, _STEPS = 4, 3
_NOISE = randn(_FRAMES, 4, SIZE, SIZE, seed=1)
WINDOWED = [*EVERY, "routed people, masked", "cure, masked", "shared_attention, masked"]


def masks_of_frames() -> torch.Tensor:
    """A mask for each frame [4,H,W]: a bar that moves to the right."""
    masks = torch.zeros(_FRAMES, 8 * SIZE, 8 * SIZE)
    for frame in range(_FRAMES):
        masks[frame, :, 30 * frame : 30 * frame + 36] = 1
    return masks


def _windows(window):
    def make(bench, put):
        def run(put, windowed):
            model, *prompts = put(mask=masks_of_frames())
            model = window(bench, model) if windowed else model
            return bench.sample(model, *prompts, steps=_STEPS, noise=_NOISE)

        return Outcome(run(put, True), run(put, False), run(put.base, False))

    return make


def core(schedule, length, overlap):
    def window(bench, model):
        return bench.node("ContextWindowsManual", model, length, overlap, schedule, 1, False, "pyramid", 0)

    return window


def evolved(length, overlap):
    def window(bench, model):
        options = bench.node("ADE_StandardStaticContextOptions", length, overlap)
        return bench.node("ADE_UseEvolvedSampling", model, "use existing", context_options=options)

    return window


case("core's context windows, 3 of 4 frames, overlapping", "no windows", ["identity, masked", "cure", "both"])(
    _windows(core("standard_static", 3, 1))
)
case("core's context windows, 3 frames and then 1", "no windows", WINDOWED)(_windows(core("batched", 3, 0)))
case("core's context window that covers all frames", "no windows", ["identity, masked", "cure"])(
    _windows(core("standard_static", 4, 0))
)
case("AnimateDiff Evolved's context windows, 3 of 4 frames", "no windows", WINDOWED,
     pack="ComfyUI-AnimateDiff-Evolved")(_windows(evolved(3, 1)))  # fmt: skip
