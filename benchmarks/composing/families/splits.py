"""One run in several samplers, batches, img2img, masks of the latent, caches, and the same prompt again."""

import logging

import torch
from host_cases import randn

from ..bench import CURES, EVERY, PEOPLE, left_half
from ..cases import Outcome, case

_STEPS = 4
MASKED_CURES = ["cure, masked", "shared_attention, masked"]


def in_parts(bench, model, positive, negative, *cuts):
    """KSamplerAdvanced once for each part between the cuts, with leftover noise."""
    latent, bounds = torch.zeros_like(bench.noise), [0, *cuts, _STEPS]
    for start, end in zip(bounds, bounds[1:], strict=False):
        noise = bench.noise if start == 0 else torch.zeros_like(bench.noise)
        latent = bench.sample(
            model, positive, negative, steps=_STEPS, noise=noise, latent=latent, scheduler="normal",
            disable_noise=start > 0, start_step=start, last_step=end, force_full_denoise=end == _STEPS,
        )  # fmt: skip
    return latent


def _parts(*cuts):
    def make(bench, put):
        return Outcome(in_parts(bench, *put(), *cuts), in_parts(bench, *put()), in_parts(bench, *put.base()))

    return make


for _name, _cuts in (("two samplers, half the steps each", (2,)), ("a sampler for each step", (1, 2, 3))):
    case(_name, "one sampler", [*PEOPLE, *MASKED_CURES, "mixed_attention", "identity, first half",
                                "identity, second half"])(_parts(*_cuts))  # fmt: skip
    # Where an attribute is, and a trajectory of its own, are known to one run: the next begins anew.
    case(_name, "one sampler", CURES, may_say=True)(_parts(*_cuts))


@case("three pictures at once", "one by one", [*EVERY, "routed people, masked", *MASKED_CURES])
def batch(bench, put):
    noise = randn(3, 4, 16, 16, seed=1)

    def run(put, at_once):
        model, *prompts = put()
        return torch.cat(
            [bench.sample(model, *prompts, noise=part) for part in ([noise] if at_once else noise.split(1))]
        )

    return Outcome(run(put, True), run(put, False), run(put.base, True))


@case("a batch of masks for a batch of pictures", "one by one", ["identity, masked", "cure, masked"])
def batch_of_masks(bench, put):
    noise, masks = randn(2, 4, 16, 16, seed=1), torch.zeros(2, 128, 128)
    masks[0, :, :64] = 1
    masks[1, :64] = 1

    def run(put):
        pairs = zip(noise.split(1), masks.split(1), strict=True)
        return torch.cat([bench.sample(*put(mask=mask), noise=part) for part, mask in pairs])

    return Outcome(bench.sample(*put(mask=masks), noise=noise), run(put), run(put.base))


@case("the same again, from one model and applied anew", "the first time, to the bit", EVERY, tolerance=0.0)
def again(bench, put):
    first = put()
    pictures = [bench.sample(*first), bench.sample(*first), bench.sample(*put())]
    return Outcome(torch.stack(pictures), torch.stack(pictures[:1] * 3), bench.alone(put.base))


@case("a noise mask that is white", "none", ["identity", "cure", "cure, separate"])
def white_noise_mask(bench, put):
    def run(put, **options):
        return bench.sample(*put(), latent=randn(1, 4, 16, 16, seed=3), denoise=0.5, steps=3, **options)

    return Outcome(run(put, noise_mask=torch.ones(1, 128, 128)), run(put), run(put.base))


@case("img2img with a noise mask, two pictures", "one by one", ["identity, masked", "both", "cure, separate"])
def img2img(bench, put):
    noise, latent = randn(2, 4, 16, 16, seed=1), randn(2, 4, 16, 16, seed=3)
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:] = 1

    def run(put, at_once):
        model, *prompts = put()
        parts = [(noise, latent)] if at_once else zip(noise.split(1), latent.split(1), strict=True)
        return torch.cat([
            bench.sample(model, *prompts, noise=one, latent=other, denoise=0.5, steps=3, noise_mask=mask)
            for one, other in parts
        ])  # fmt: skip

    return Outcome(run(put, True), run(put, False), run(put.base, True))


@case("a picture whose sides are odd", "the person twice, in each half", ["identity"])
def odd_sides(bench, put):
    def run(put, *masks):
        applied = None
        for mask in masks:
            applied = put(mask=mask) if applied is None else put.feature.add(bench, *applied, mask)
        return bench.sample(*applied, noise=randn(1, 4, 19, 13, seed=1))

    masked, mask = bench.feature("identity, masked"), left_half(13, 19)
    return Outcome(run(masked, mask, 1 - mask), run(put, None), run(put.base, None))


def saved(bench, model, positive, negative, steps=8):
    """How many of the forwards of a run EasyCache spares."""
    forwards = []
    first = bench.plain.model.diffusion_model.time_embed
    hook = first.register_forward_pre_hook(lambda *_: forwards.append(1))
    try:
        bench.sample(model, positive, negative, steps=steps)
        plain = len(forwards)
        forwards.clear()
        cached = bench.node("EasyCache", model, 0.2, 0.15, 0.95, False)
        bench.sample(cached, positive, negative, steps=steps)
    finally:
        hook.remove()
    return float(plain - len(forwards))


@case("forwards that EasyCache saves", "as many as without the feature", ["cure", "shared_attention"], tolerance=2.0)
def easy_cache(bench, put):
    return Outcome(saved(bench, *put()), saved(bench, *put.base()), None)


TAKERS = {
    "Self-Attention Guidance behind, which takes a self-attention": ("SelfAttentionGuidance", (0.5, 2.0)),
    "HyperTile, which cuts the tokens of large layers up": ("HyperTile", (32, 2, 0, False)),
    "TomePatchModel, which merges tokens of large layers": ("TomePatchModel", (0.3,)),
}


def _sites_lost(node, inputs):
    def make(bench, put):
        """Layers that share no keys any more are no silent loss."""
        model, *prompts = put()
        said = _said(lambda: bench.sample(bench.node(node, model, *inputs), *prompts))
        return Outcome(float(said), 1.0, None)

    return make


def _said(run):
    said = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())
    logging.getLogger().addHandler(listener)
    try:
        run()
    finally:
        logging.getLogger().removeHandler(listener)
    return any(text.startswith("Likeness") for text in said)


for _name, _taker in TAKERS.items():
    case(_name, "a warning in the log", ["mixed_attention"])(_sites_lost(*_taker))
    if _taker[0] != "SelfAttentionGuidance":  # it takes none of the last layers, in which the cure's modes share keys
        case(_name, "a warning in the log", ["shared_attention", "both"])(_sites_lost(*_taker))
