"""The cure in ComfyUI's sampling: what is done around a run, a step and a forward. Works under any sampler and guider.

`shared` without a foundation MODEL: the foundation is one more list of conditionings in each step, so that ComfyUI runs
it in the same batch. Otherwise it is a prediction of its own before the personalised one.
"""

import copy
import logging
import uuid

import comfy.samplers
import torch
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP, copy_nested_dicts

from ..cure.blend import blend_denoised, blend_noise
from ..cure.masks import unite
from .cure_pass import abstract_pass, extra_steps
from .cure_run import KEY, TEMPLATE, WITHOUT, CurePlan, CureRun
from .gated import has_gates
from .patch import IDPatch
from .run import KEY as RUN_KEY
from .run import Run
from .twins import FOUNDATION, add_twins, apply_model
from .twins import KEY as TWINS


class CureHooks:
    """The wrappers of one cured MODEL and its clones. What changes lives in a CureRun, only `latest` outlives it."""

    def __init__(self, plan: CurePlan):
        self.plan = plan
        self.latest = None  # where the latest run worked [B,H,W], on the CPU; None: nowhere, or it broke off

    def __deepcopy__(self, memo):
        return self

    def install(self, model):
        """Put the wrappers on `model`, a clone of the caller's own."""
        for kind, wrapper in (
            (WrappersMP.OUTER_SAMPLE, self.outer_sample),
            (WrappersMP.SAMPLER_SAMPLE, self.sampler_sample),
            (WrappersMP.PREDICT_NOISE, self.predict_noise),
        ):
            model.add_wrapper_with_key(kind, KEY, wrapper)
        install_forward(model)

    def outer_sample(self, executor, *args, **kwargs):
        self.latest = None
        guider = executor.class_obj
        options = guider.model_options["transformer_options"]
        positive = guider.conds.get("positive")
        if not positive or not (self.plan.foundation is not None or _has_identity(options)):
            what = "the guider has no positive prompt" if not positive else "the model carries no identity"
            logging.warning("Likeness: AttributeCure has nothing to do, because %s.", what)
            return executor(*args, **kwargs)
        positive, twins = add_twins(guider)
        run = CureRun(self.plan, guider, positive, twins, options.get(RUN_KEY) or Run())
        texts = {WITHOUT.format(number): encoded for number, encoded in enumerate(self.plan.without)}
        if self.plan.template is not None:
            texts[TEMPLATE] = self.plan.template
        for name, encoded in texts.items():
            guider.conds[name] = _with_text(twins, self.plan.context, encoded)
            run.conditional |= {entry["uuid"] for entry in guider.conds[name]}
        options[TWINS] = run
        try:
            result = executor(*args, **kwargs)
        finally:
            options.pop(TWINS, None)
        if run.attribute_masks is not None:
            self.latest = unite(run.attribute_masks)[:, 0].float().cpu()  # host read: once per run, to free VRAM
            if self.plan.observe is not None:
                self.plan.observe(self.plan.attributes, run.attribute_masks)
        return result

    def sampler_sample(
        self, executor, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, *rest
    ):
        run = extra_args["model_options"]["transformer_options"].get(TWINS)
        if run is None:
            return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, *rest)
        run.denoise_mask = denoise_mask
        run.open(sigmas)
        foundation = self.plan.foundation
        elsewhere = foundation is not None and foundation.model is not guider.inner_model
        if elsewhere:
            foundation.pre_run()
        try:
            more = extra_steps(self.plan, sigmas)
            counted = callback and (lambda step, denoised, x, total: callback(step, denoised, x, total + more))
            samples = executor(guider, sigmas, extra_args, counted, noise, latent_image, denoise_mask, *rest)
            if more:
                samples = abstract_pass(self, run, guider, samples, sigmas, extra_args, callback)
        finally:
            if elsewhere:
                foundation.cleanup()
        return samples

    def predict_noise(self, executor, x, timestep, model_options=None, seed=None):
        run = model_options["transformer_options"].get(TWINS)
        if run is None or run.all_off or not self.plan.apart:
            return executor(x, timestep, model_options, seed)
        needed, acts = run.begin_step(x, timestep)
        if not needed:
            return executor(x, timestep, model_options, seed)
        latent, denoised = run.follow(x, timestep) if self.plan.separate else (x, None)
        guider, plan = executor.class_obj, self.plan
        if not (plan.separate or plan.replaces):
            model, options = self.foundation_model(guider.inner_model, model_options)
            self.unguided(run, model, guider.conds[FOUNDATION], latent, timestep, options)
        elif denoised is None or run.gives_keys:  # known already, its keys are gone all the same
            denoised = self.foundation(run, guider, latent, timestep, model_options, seed)
            if self.plan.separate:
                run.followed(denoised, timestep)
        personal = executor(x, timestep, model_options, seed)
        run.end_step()
        mask = run.mask() if acts and self.plan.replaces else None
        if mask is None:
            return personal
        mask = mask * self.plan.strength
        if self.plan.settings.blend == "denoised":
            return blend_denoised(personal, denoised, mask)
        return blend_noise(x, personal, latent, denoised, mask)

    def foundation(self, run, guider, x, timestep, model_options, seed):
        """The guided prediction [B,C,H,W] without identity, by the guider's own rule."""
        twin = copy.copy(guider)
        twin.conds = {**guider.conds, "positive": guider.conds[FOUNDATION]}
        twin.inner_model, options = self.foundation_model(guider.inner_model, model_options)
        run.all_off = True
        try:
            return twin.predict_noise(x, timestep, options, seed)
        finally:
            run.all_off = False

    def unguided(self, run, model, entries, x, timestep, options):
        """The prediction [B,C,H,W] of one list of conditionings without identity; model, options: foundation_model."""
        run.all_off = True
        try:
            return comfy.samplers.calc_cond_batch(model, [entries], x, timestep, options)[0]
        finally:
            run.all_off = False

    def foundation_model(self, model, model_options):
        """The BaseModel that predicts without identity, and the options to call it with."""
        foundation = self.plan.foundation
        if foundation is None:
            return model, model_options
        options = create_model_options_clone(foundation.model_options)
        inner, outer = options["transformer_options"], model_options["transformer_options"]
        inner["wrappers"] = copy_nested_dicts(foundation.wrappers)
        inner["callbacks"] = copy_nested_dicts(foundation.callbacks)
        inner.update({key: outer[key] for key in (TWINS, "sample_sigmas") if key in outer})
        return foundation.model, options


def install_forward(model):
    """The wrappers that a foundation MODEL needs as well."""
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, calc_cond_batch)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, apply_model)


def calc_cond_batch(executor, model, conds, x, timestep, model_options):
    """One step's predictions: [conditional, unconditional, ...], as a guider asks for them."""
    run = model_options["transformer_options"].get(TWINS)
    if run is None:
        return executor(model, conds, x, timestep, model_options)
    plan = run.plan
    run.begin_forward(conds, x)
    if run.all_off:
        return _with_foundation(executor, run, model, conds, x, timestep, model_options)
    if plan.apart:
        return run.answered(executor(model, conds, x, timestep, model_options))
    needed, acts = run.begin_step(x, timestep)
    # With "absent" the unconditional half is another one without identity, so where it is blended it is evaluated too.
    halves = (0, 1) if plan.replaces and plan.settings.identity_off == "absent" else (0,)
    paired = [i for i, kind in enumerate(run.kinds) if conds[i] and kind in halves]
    if not needed or 0 not in [run.kinds[i] for i in paired]:
        return run.answered(executor(model, conds, x, timestep, model_options))
    twins = [run.twins(conds[i]) for i in paired]
    run.kinds += [run.kinds[i] for i in paired]
    run.note_areas(twins, x)
    out = _with_foundation(executor, run, model, [*conds, *twins], x, timestep, model_options, first=len(conds))
    run.end_step()
    out, without = run.answered(list(out[: len(conds)])), out[len(conds) :]
    mask = run.mask() if acts and plan.replaces else None
    if mask is not None:
        for i, foundation in zip(paired, without, strict=True):
            out[i] = blend_denoised(out[i], foundation, mask * plan.strength)
    return out


def _with_foundation(executor, run, model, conds, x, timestep, model_options, first=0):
    """Predictions of lists of conditionings, of which those from `first` on are the foundation's.

    Where the step compares, the lists that lack some attributes go in the same batch.
    """
    if not (run.acts or run.collects) or 0 not in run.kinds[first:]:
        return executor(model, conds, x, timestep, model_options)
    foundation, without = run.kinds.index(0, first), run.without()
    unconditional = next((i for i, kind in enumerate(run.kinds) if kind == 1 and conds[i]), None)
    run.kinds += [0] * len(without)
    run.note_areas(without, x)
    out = executor(model, [*conds, *without], x, timestep, model_options)
    reference = None if unconditional is None else out[unconditional]
    run.add_foundation(out[foundation], reference, out[len(conds) :])
    return out[: len(conds)]


def _has_identity(options):
    taken = options.get("patches_replace", {}).get("attn2", {}).values()
    return has_gates(options) or any(isinstance(patch, IDPatch) for patch in taken)


def _with_text(twins, context, encoded):
    """Entries of the foundation with another text in place of the prompt: those that say the prompt, else all."""
    same = [torch.equal(twin["cross_attn"], context.to(twin["cross_attn"])) for twin in twins]
    return [
        {**twin, "uuid": uuid.uuid4(), "cross_attn": encoded.context, **encoded.options}
        if is_prompt or not any(same)
        else {**twin, "uuid": uuid.uuid4()}
        for twin, is_prompt in zip(twins, same, strict=True)
    ]
