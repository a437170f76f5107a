"""Mixed attention in ComfyUI's sampling: rows with identity see the text-only rows' keys and values as well.

Infinite-ID (Wu et al. 2024) runs the text-only stream on latents of its own; here it is evaluated at the identity's
latents, as one more conditional list in each step. The unconditional rows have no identity, so that mixed with their
twins they would be what they are.
"""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from .. import keys
from ..foundation import ModelKind
from ..sampling.run import Run, open_scope, opened
from ..sampling.spans import Span
from ..sampling.twins import TwinRun, add_twins


@dataclass(frozen=True)
class Mix:
    """What one adapter asks for: in which part of the denoising, and how far its keys and values are moved towards the
    text-only ones, 0 to 1."""

    span: Span
    style: float


class MixedRun(TwinRun):
    """State of one sampling run; dropped when it ends."""

    halves = True

    def __init__(self, mixes: tuple[Mix, ...], guider, positive: list[dict], twins: list[dict], run: Run):
        super().__init__(guider, positive, twins, run)
        self.mixes = mixes

    def begin_step(self, sigmas: torch.Tensor) -> bool:
        """Whether this step mixes; where several adapters do, with the strongest style."""
        styles = [mix.style for mix in self.mixes if self.run.within(self.run.levels(mix.span), sigmas)]
        self.gives_keys, self.style = bool(styles), max(styles, default=0.0)
        return self.gives_keys

    def end_step(self):
        self.keys.clear()
        self.gives_keys = False


class MixedHooks:
    """What opens a MixedRun at every sampling of one MODEL and its clones. Immutable."""

    def __init__(self, mixes: tuple[Mix, ...]):
        self.mixes = mixes

    def __deepcopy__(self, memo):
        return self

    def outer_sample(self, executor: WrapperExecutor, *args: Any, **kwargs: Any) -> torch.Tensor:
        guider = executor.class_obj
        if not guider.conds.get("positive"):
            logging.warning("Likeness: mixed_attention has nothing to mix, because the guider has no positive prompt.")
            return executor(*args, **kwargs)
        options = guider.model_options["transformer_options"]
        with opened(guider, args[0], args[3]) as run:
            options[keys.TWINS] = MixedRun(self.mixes, guider, *add_twins(guider, run), run)
            try:
                return executor(*args, **kwargs)
            finally:
                options.pop(keys.TWINS, None)


def calc_cond_batch(
    executor: WrapperExecutor,
    model: torch.nn.Module,
    conds: list,
    x: torch.Tensor,
    timestep: torch.Tensor,
    model_options: dict,
) -> list:
    """One step's predictions, with text-only ones beside the conditional ones; those are of no further use."""
    run = model_options["transformer_options"].get(keys.TWINS)
    if run is None or not run.begin_step(timestep):
        return executor(model, conds, x, timestep, model_options)
    try:
        with run.run.calling(conds, x, model_options["transformer_options"]) as call:
            conditional = [one for one, kind in zip(conds, call.kinds, strict=True) if kind == 0 and one]
            twins = [run.twins(entries) for entries in conditional]
            return run.evaluate(executor, model, conds, [], twins, x, timestep, model_options)[: len(conds)]
    finally:
        run.end_step()


def mix_attention(model: ModelPatcher, mix: Mix, under: ModelKind):
    """Make `model`, a clone of the caller's own, mix; adapters that were chained share one pass.

    ValueError where AttributeCure has been at the model.
    """
    if model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.CURE):
        raise ValueError(
            "The connected model has been through AttributeCure, which runs the text-only rows already; switch "
            "mixed_attention off in ApplyIDAdapter, or leave AttributeCure out."
        )
    mixes = (mix,)
    for wrapper in model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.MIXED):
        mixes = wrapper.__self__.mixes + mixes
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, MixedHooks(mixes).outer_sample),
        (WrappersMP.CALC_COND_BATCH, calc_cond_batch),
    ):
        model.remove_wrappers_with_key(kind, keys.MIXED)
        model.add_wrapper_with_key(kind, keys.MIXED, wrapper)
    open_scope(model, under.share_keys(model, [site.key for site in under.sites]))


def check_unmixed(*models: ModelPatcher | None):
    """ValueError when one of these MODELs (None: not connected) mixes its attention."""
    if any(model is not None and model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.MIXED) for model in models):
        raise ValueError(
            "The connected model has an adapter with mixed_attention, which runs the text-only rows already; switch "
            "mixed_attention off in ApplyIDAdapter, or leave AttributeCure out."
        )
