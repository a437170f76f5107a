"""The abstract pass: an expression has no place of its own, so the finished picture is taken back and denoised again.

FreeCure's asymmetric prompt guidance (Cai et al. 2024): invert with the attribute left out of the prompt, denoise with
the whole prompt, both without identity. The inverted latent carries the face; only what the prompt adds can change.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from comfy.samplers import CFGGuider

from ...cure.inversion import euler_step, invert_step, steps_of_depth
from .. import keys
from ..comfyui.managed import check_interrupted
from .plan import CurePlan
from .run import CureRun


def extra_steps(plan: CurePlan, sigmas: torch.Tensor) -> int:
    """How many steps the pass adds to a run, for its progress bar; 0 when there is none."""
    if plan.template is None or len(sigmas) < 2:
        return 0
    if float(sigmas[-1]) != 0:  # host read: once per run
        logging.warning("Likeness: the sampler leaves noise in the picture, so the abstract pass is left out.")
        return 0
    return 2 * (len(steps_of_depth(sigmas, plan.depth)) - 1)


def abstract_pass(
    hooks: Any,
    run: CureRun,
    guider: CFGGuider,
    samples: torch.Tensor,
    sigmas: torch.Tensor,
    extra_args: dict,
    callback: Callable | None,
) -> torch.Tensor:
    """Finished samples [B,C,H,W] in the model's own space -> the same with the abstract attributes.

    `hooks`: the CureHooks that ask for it.
    """
    plan, seed = hooks.plan, extra_args.get("seed")
    levels = steps_of_depth(sigmas, plan.depth)
    model, options = hooks.bare_model(guider.inner_model, extra_args["model_options"])
    total = len(sigmas) - 1 + 2 * (len(levels) - 1)
    step = len(sigmas) - 1

    def report(denoised, x):
        nonlocal step
        check_interrupted()
        if callback is not None:
            callback(step, denoised, x, total)
        step += 1

    def template(x, sigma):  # unguided: guidance can't be inverted
        return hooks.unguided(run, model, guider.conds[keys.TEMPLATE], x, sigma.expand(x.shape[0]), options)

    x = samples
    for sigma, up in zip(levels.flip(0)[:-1], levels.flip(0)[1:], strict=True):
        x, denoised = invert_step(template, x, sigma, up, plan.mode.refine)
        report(denoised, x)
    for sigma, down in zip(levels[:-1], levels[1:], strict=True):
        expanded = sigma.expand(x.shape[0])
        denoised = hooks.guided(run, guider, x, expanded, extra_args["model_options"], seed)
        x = euler_step(x, denoised, sigma, down)
        report(denoised, x)
    for mask in (run.trajectory.denoise_mask, run.where.artist(samples)):
        if mask is not None:
            x = torch.lerp(samples, x, mask.to(x))
    return x
