"""The cure in ComfyUI's sampling: what is done around a run, a step and a forward. Works under any sampler and guider.

On the trajectory `shared`, without a foundation MODEL, the twins of the conditionings are one more list of them in each
step, so that ComfyUI runs them in the same batch. Otherwise the bare prediction is one of its own before the personal
one. (`twins`, `bare`, `personal`: see run.py.)
"""

import copy
import logging
import uuid
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.patcher_extension import WrapperExecutor, WrappersMP, copy_nested_dicts
from comfy.samplers import CFGGuider
from torch import nn

from ...cure.blend import blend_denoised, blend_noise
from ...cure.masks import unite
from ...sizes import height_width
from .. import keys
from ..sampling.people import people_drawn
from ..sampling.run import SELF, opened, watch_forwards
from ..sampling.twins import add_twins
from .abstract import abstract_pass, extra_steps
from .plan import CurePlan
from .run import CureRun

_CACHES = "easycache"  # where ComfyUI's EasyCache keeps what it knows of each entry of a batch


class CureHooks:
    """The wrappers of one cured MODEL and its clones. What changes lives in a CureRun, only `latest` outlives it."""

    def __init__(self, plan: CurePlan):
        self.plan = plan
        # Where the latest run worked [B,H,W], on the CPU; None: nowhere, or it broke off.
        self.latest: torch.Tensor | None = None

    def __deepcopy__(self, memo):
        return self

    def install(self, model: ModelPatcher):
        """Put the wrappers on `model`, a clone of the caller's own."""
        for kind, wrapper in (
            (WrappersMP.OUTER_SAMPLE, self.outer_sample),
            (WrappersMP.SAMPLER_SAMPLE, self.sampler_sample),
            (WrappersMP.PREDICT_NOISE, self.predict_noise),
        ):
            model.add_wrapper_with_key(kind, keys.CURE, wrapper)
        install_forward(model)

    def outer_sample(self, executor: WrapperExecutor, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.latest = None
        guider = executor.class_obj
        options = guider.model_options["transformer_options"]
        positive = guider.conds.get("positive")
        if not positive or not (self.plan.foundation is not None or _has_identity(options, positive)):
            what = "the guider has no positive prompt" if not positive else "the model carries no identity"
            logging.warning("Likeness: AttributeCure has nothing to do, because %s.", what)
            return executor(*args, **kwargs)
        with opened(guider, args[0], args[3]) as lives:
            positive, twins = add_twins(guider, lives)
            run = options[keys.TWINS] = CureRun(self.plan, guider, positive, twins, lives)
            for name, text in ((keys.LACKING, self.plan.lacking), (keys.TEMPLATE, self.plan.template)):
                if text is not None:
                    guider.conds[name] = _with_text(twins, self.plan.context, text)
                    lives.note({name: guider.conds[name]})
            try:
                result = executor(*args, **kwargs)
            finally:
                options.pop(keys.TWINS, None)
        self._keep(run, args[0])
        return result

    def _keep(self, run: CureRun, noise: torch.Tensor):
        """Keep where a run on noise [B,C,H,W] has worked, and say what it could not do."""
        asked = any(site[0] == SELF for site in run.run.fired)  # else another node has taken the layers, which is said
        if self.plan.mode.shares_keys and run.shared_steps and not run.kept_any and asked:
            logging.warning(
                "Likeness: AttributeCure's mode %s shared no keys, because it needs a step to find out where; this run "
                "had no later one. Give a sampler two steps or more at a time, or use the mode noise_blend.",
                self.plan.mode.name,
            )
        masks = run.where.attributes
        if masks is None:
            self.latest = torch.zeros(len(noise), *height_width(noise.shape))
            if self.plan.mode.reads_maps and run.mapped:
                logging.warning(
                    "Likeness: AttributeCure's mode freecure found no attention maps, because another node cuts the "
                    "picture into tiles, merges its tokens or takes its attentions; leave that node out, or use the "
                    "mode noise_blend."
                )
            return
        self.latest = unite(masks)[:, 0].float().cpu()  # host read: once per run, to free VRAM
        if self.plan.attributes and not self.plan.mode.reads_maps and not self.latest.any():
            logging.warning(
                "Likeness: AttributeCure found nowhere to work, because the model predicts the same with and without "
                "the attributes in the prompt; where another node sets prompts of its own (attention couples do), "
                "connect a mask."
            )
        if self.plan.observe is not None:
            self.plan.observe(self.plan.attributes, masks)

    def sampler_sample(
        self,
        executor: WrapperExecutor,
        guider: CFGGuider,
        sigmas: torch.Tensor,
        extra_args: dict,
        callback: Callable | None,
        noise: torch.Tensor,
        latent_image: torch.Tensor | None = None,
        denoise_mask: torch.Tensor | None = None,
        *rest: Any,
    ) -> torch.Tensor:
        run = extra_args["model_options"]["transformer_options"].get(keys.TWINS)
        if run is None:
            return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, *rest)
        run.trajectory.denoise_mask = denoise_mask
        run.open(sigmas)
        if (self.plan.attributes or self.plan.separate) and float(sigmas[-1]) > 0:  # host read: once per run
            run.run.say(
                "AttributeCure begins from the start in each part of a run that is split among samplers, so the parts "
                "draw another picture than one sampler does; use one sampler for all steps to have the same."
            )
        foundation = self.plan.foundation
        elsewhere = None if foundation is None or foundation.model is guider.inner_model else foundation
        if elsewhere is not None:
            elsewhere.pre_run()
        try:
            more = extra_steps(self.plan, sigmas)
            counted = callback and (lambda step, denoised, x, total: callback(step, denoised, x, total + more))
            samples = executor(guider, sigmas, extra_args, counted, noise, latent_image, denoise_mask, *rest)
            if more:
                samples = abstract_pass(self, run, guider, samples, sigmas, extra_args, callback)
        finally:
            if elsewhere is not None:
                elsewhere.cleanup()
        return samples

    def predict_noise(
        self,
        executor: WrapperExecutor,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict,
        seed: int | None = None,
    ) -> torch.Tensor:
        run = model_options["transformer_options"].get(keys.TWINS)
        if run is None or run.all_off:
            return executor(x, timestep, model_options, seed)
        run.begin_step(x, timestep, always=_CACHES in model_options["transformer_options"])
        try:
            if not (self.plan.apart and run.step.needs_bare):
                return executor(x, timestep, model_options, seed)
            return self._apart(run, executor, x, timestep, model_options, seed)
        finally:
            run.end_step()

    def _apart(self, run, executor, x, timestep, model_options, seed):
        """A step whose bare prediction is one of its own before the personal one."""
        guider, plan = executor.class_obj, self.plan
        latent, bare = run.trajectory.follow(x, timestep) if plan.separate else (x, None)
        if not (plan.separate or plan.mode.replaces):
            model, options = self.bare_model(guider.inner_model, model_options)
            self.unguided(run, model, guider.conds[keys.TWIN_ENTRIES], latent, timestep, options)
        elif bare is None or run.gives_keys:  # known already, its keys are gone all the same
            bare = self.guided(run, guider, latent, timestep, model_options, seed)
            if plan.separate:
                run.trajectory.predicted(bare, timestep)
        personal = executor(x, timestep, model_options, seed)
        mask = run.replacing_mask()
        return personal if mask is None else blend_noise(x, personal, latent, bare, mask)

    def guided(
        self, run: CureRun, guider: CFGGuider, x: torch.Tensor, timestep: torch.Tensor, model_options: dict,
        seed: int | None,
    ) -> torch.Tensor:  # fmt: skip
        """The bare prediction [B,C,H,W] by the guider's own rule."""
        twin = copy.copy(guider)
        twin.conds = {**guider.conds, "positive": guider.conds[keys.TWIN_ENTRIES]}
        twin.inner_model, options = self.bare_model(guider.inner_model, model_options)
        run.all_off = True
        try:
            return twin.predict_noise(x, timestep, options, seed)
        finally:
            run.all_off = False

    def unguided(
        self, run: CureRun, model: nn.Module, entries: list[dict], x: torch.Tensor, timestep: torch.Tensor,
        options: dict,
    ) -> torch.Tensor:  # fmt: skip
        """The prediction [B,C,H,W] of one list of conditionings without identity; model, options: see bare_model."""
        run.all_off = True
        try:
            return comfy.samplers.calc_cond_batch(model, [entries], x, timestep, options)[0]
        finally:
            run.all_off = False

    def bare_model(self, model: nn.Module, model_options: dict) -> tuple[nn.Module, dict]:
        """The BaseModel that predicts without identity, the guider's own or the foundation's, and its options."""
        foundation = self.plan.foundation
        if foundation is None:
            return model, model_options
        options = create_model_options_clone(foundation.model_options)
        inner, outer = options["transformer_options"], model_options["transformer_options"]
        inner["wrappers"] = copy_nested_dicts(foundation.wrappers)
        inner["callbacks"] = copy_nested_dicts(foundation.callbacks)
        inner.update({key: outer[key] for key in (keys.TWINS, keys.RUN, "sample_sigmas") if key in outer})
        return foundation.model, options


def install_forward(model: ModelPatcher):
    """The wrappers that a foundation MODEL needs as well."""
    watch_forwards(model)
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, keys.CURE, calc_cond_batch)


def calc_cond_batch(
    executor: WrapperExecutor,
    model: nn.Module,
    conds: list,
    x: torch.Tensor,
    timestep: torch.Tensor,
    model_options: dict,
) -> list:
    """One evaluation of lists of conditionings, [conditional, unconditional, ...], for a guider or for a node."""
    options = model_options["transformer_options"]
    run = options.get(keys.TWINS)
    if run is None:
        return executor(model, conds, x, timestep, model_options)
    with run.run.calling(conds, x, options) as call:  # whose lists and pictures these are
        each = _bare if run.all_off else _personal
        # a list that a guider leaves out, as at CFG 1, has a prediction of nothing
        kinds = [kind if entries else None for kind, entries in zip(call.kinds, conds, strict=True)]
        return each(executor, run, model, conds, kinds, x, timestep, model_options)


def _bare(executor, run, model, conds, kinds, x, timestep, model_options):
    """Lists of conditionings without identity, beside the one that they are compared with."""
    step = run.step
    asked = 0 in kinds and (step.acts or step.collects or step.compares) and run.begin_pictures((run.frames, "bare"))
    lacking = run.lacking() if asked else []
    more = run.missing_negative(kinds) if asked and run.plan.separate else []
    out = run.evaluate(executor, model, [*conds, *more], lacking, [], x, timestep, model_options)
    compared, out = out[: len(lacking)], out[len(lacking) :]
    kinds = kinds + [1] * len(more)
    if asked:
        run.add_bare(out[kinds.index(0)], out[kinds.index(1)] if 1 in kinds else None, *compared)
    return out[: len(conds)]


def _personal(executor, run, model, conds, kinds, x, timestep, model_options):
    """Lists of conditionings with identity, beside their twins where this step needs them and they aren't there yet."""
    plan = run.plan
    # The unconditional half has the identity of nobody, so where its prediction is replaced it has a twin as well.
    paired = [i for i, kind in enumerate(kinds) if kind in ((0, 1) if plan.mode.replaces else (0,))]
    whole = run.run.calls[-1].crop is None
    asked = run.step.needs_bare and whole and 0 in [kinds[i] for i in paired] and run.begin_pictures(run.frames)
    beside = not plan.apart and (asked or run.gives_keys) and bool(paired)
    twins = [run.twins(conds[i]) if kinds[i] == 0 else conds[i] for i in paired] if beside else []
    lacking = run.lacking() if asked and beside else []
    more = run.missing_negative(kinds) if asked else []
    if not (twins or lacking or more):
        return run.answered(executor(model, conds, x, timestep, model_options), kinds)
    out = run.evaluate(executor, model, [*conds, *more], lacking, twins, x, timestep, model_options)
    compared, out, bare = _parted(out, len(lacking), len(conds) + len(more))
    kinds = kinds + [1] * len(more)
    run.keys.clear()
    if asked and beside:
        unconditional = out[kinds.index(1)] if 1 in kinds else None
        run.add_bare(bare[[kinds[i] for i in paired].index(0)], unconditional, *compared)
        run.where.close()
    out = run.answered(out, kinds)[: len(conds)]
    mask = run.replacing_mask() if beside else None
    if mask is not None:
        mask = run.of_pictures(mask)
        for i, prediction in zip(paired, bare, strict=True):
            out[i] = blend_denoised(out[i], prediction, mask)
    return out


def _parted(values, *lengths):
    """A list cut into pieces of these lengths, and the rest."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(list(values[start : start + length]))
        start += length
    return *pieces, list(values[start:])


def _has_identity(options, positive):
    """Whether an adapter of ours is applied, to the model or to a ControlNet; another pack's patch may stand before
    it."""
    scopes = options.get("wrappers", {}).get(WrappersMP.OUTER_SAMPLE, {}).get(keys.RUN, [])
    return any(site[0] != SELF for scope in scopes for site in scope.sites) or bool(people_drawn(positive))


def _with_text(twins, context, encoded):
    """Twins with another text in place of the prompt: those that say the prompt, else all."""
    same = [torch.equal(twin["cross_attn"], context.to(twin["cross_attn"])) for twin in twins]
    return [
        {**twin, "uuid": uuid.uuid4(), "cross_attn": encoded.context, **encoded.extras}
        if is_prompt or not any(same)
        else {**twin, "uuid": uuid.uuid4()}
        for twin, is_prompt in zip(twins, same, strict=True)
    ]
