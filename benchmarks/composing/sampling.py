"""Ways to sample beyond KSampler's."""

import comfy.samplers
import torch
from comfy_extras import nodes_custom_sampler, nodes_perpneg


def guided(bench, guider, steps=2, scheduler="simple"):
    """Sample with a guider, as SamplerCustomAdvanced does; the same noise and levels as Bench.sample has."""
    sampling = guider.model_patcher.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, scheduler, steps)
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        latent = torch.zeros_like(bench.noise)
        return guider.sample(bench.noise, latent, sampler, sigmas, seed=1, disable_pbar=True)


def basic(model, positive):
    guider = nodes_custom_sampler.Guider_Basic(model)
    guider.set_conds(positive)
    return guider


def dual(model, positive, middle, negative, *scales, nested=False):
    guider = nodes_custom_sampler.Guider_DualCFG(model)
    guider.set_conds(positive, middle, negative)
    guider.set_cfg(*scales, nested)
    return guider


def perp_neg(model, positive, negative, empty, scale=4.0, neg_scale=1.0):
    guider = nodes_perpneg.Guider_PerpNeg(model)
    guider.set_conds(positive, negative, empty)
    guider.set_cfg(scale, neg_scale)
    return guider


def one_by_one(model):
    """The model with each chunk of a batch in a forward of its own: whatever order rows come in cannot matter."""

    def apart(apply_model, given):
        c, options = given["c"], given["c"]["transformer_options"]
        count = len(given["cond_or_uncond"])
        parts = []
        for place in range(count):

            def own(value, place=place):
                return value.chunk(count)[place] if isinstance(value, torch.Tensor) else value

            told = {**options, "cond_or_uncond": [options["cond_or_uncond"][place]], "uuids": [options["uuids"][place]]}
            inputs = {key: own(value) for key, value in c.items()} | {"transformer_options": told}
            parts.append(apply_model(own(given["input"]), own(given["timestep"]), **inputs))
        return torch.cat(parts)

    patched = model.clone()
    patched.set_model_unet_function_wrapper(apart)
    return patched
