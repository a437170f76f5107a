"""Adapters on FLUX against diffusers' FLUX with the authors' formulas written out: whole samplings, by Euler."""

import math
from functools import partial

import flux_cases
import flux_reference
import pytest
import torch
from flux_reference import ONE_STEP, WHOLE, by_euler, difference, velocity
from host_cases import randn
from tiny import flux as tiny
from torch.nn import functional as F


def test_the_reference_is_comfyuis_own_flux(model, made):
    prompt = flux_cases.conditioning(1)
    for size in ((12, 16), (7, 9)):
        ours = flux_cases.sample(model, prompt, prompt, steps=1, size=size)
        assert difference(ours, by_euler(model, velocity(made, prompt), 1, size=size)) < ONE_STEP


# -- PuLID (flux/model.py and pulid/encoders_transformer.py of ToTheBeginning/PuLID) --------------------------------

PULID_AFTER = [*range(0, 19, 2), *range(19, 57, 4)]


def pulid_tokens(state, who):
    """IDFormer's tokens of a face, by the very module whose own parity tests/unit/test_pulid.py is about."""
    module = flux_cases.pulid_flux().patcher.model
    return module.project(who)


def pulid_added(state, tokens, weight=1.0):
    """`weight * PerceiverAttentionCA(tokens, picture)` of each number, with 16 heads as published: of 128 each."""

    def attended(number, picture):
        def part(name):
            return state[f"pulid_ca.{number}.{name}.weight"], state.get(f"pulid_ca.{number}.{name}.bias")

        face = F.layer_norm(tokens, tokens.shape[-1:], *part("norm1"))
        seen = F.layer_norm(picture, picture.shape[-1:], *part("norm2"))
        q = seen @ part("to_q")[0].T
        k, v = (face @ part("to_kv")[0].T).chunk(2, dim=-1)
        q, k, v = (one.view(len(one), one.shape[1], -1, 128).transpose(1, 2) for one in (q, k, v))
        scale = 1 / math.sqrt(math.sqrt(128))
        weights = ((q * scale) @ (k * scale).transpose(-2, -1)).softmax(-1)
        return weight * ((weights @ v).transpose(1, 2).flatten(2) @ part("to_out")[0].T)

    return attended


@pytest.fixture(scope="module")
def pulid():
    adapter = flux_cases.pulid_flux()
    return adapter, dict(adapter.patcher.model.state_dict())


@pytest.mark.parametrize(("steps", "bound"), [(1, ONE_STEP), (8, WHOLE)])
def test_pulid_in_one_pass(model, made, pulid, steps, bound):
    adapter, state = pulid
    prompt, who = flux_cases.conditioning(1), flux_cases.pulid_face()
    ours = flux_cases.sample(*flux_cases.apply(model, adapter, who, weight=0.8, prompts=(prompt, prompt)), steps=steps)
    added = pulid_added(state, pulid_tokens(state, who[0]), 0.8)
    put = partial(flux_reference.add_after, made, PULID_AFTER, added)
    theirs = by_euler(model, velocity(made, prompt, put), steps)
    assert difference(ours, theirs) < bound
    assert difference(ours, flux_cases.sample(model, prompt, prompt, steps=steps)) > 1e-2


def with_pulid(made, model, state, people, prompt, steps, until=0.0, **run):
    """The reference's picture; `people`: (face, weight, mask of the picture's tokens [N] or None)."""
    added = [(pulid_added(state, pulid_tokens(state, face), weight), mask) for face, weight, mask in people]
    main = math.prod(-(-side // 2) for side in run.get("size", flux_cases.SIZE))

    def both(number, picture):
        parts = [one(number, picture) * (1 if mask is None else mask[:, None]) for one, mask in added]
        return torch.cat([sum(parts)[:, :main], torch.zeros_like(picture[:, main:])], 1)

    put = partial(flux_reference.add_after, made, PULID_AFTER, both)
    return by_euler(model, velocity(made, prompt, put, (1.0, until), **run.pop("more", {})), steps, **run)


@pytest.mark.parametrize(("size", "batch"), [((12, 16), 3), ((7, 9), 1)])
def test_pulid_in_batches_and_odd_sizes(model, made, pulid, size, batch):
    adapter, state = pulid
    prompt, who = flux_cases.conditioning(1), flux_cases.pulid_face()
    patched = flux_cases.apply(model, adapter, who, prompts=(prompt, prompt))
    ours = flux_cases.sample(*patched, steps=1, size=size, batch=batch)
    people = [(who[0], 1.0, None)]
    assert difference(ours, with_pulid(made, model, state, people, prompt, 1, size=size, batch=batch)) < ONE_STEP


def test_pulid_under_masks_for_two_people(model, made, pulid):
    """Both from one state; each mask's mean over the four cells of a token."""
    adapter, state = pulid
    prompt, one, other = flux_cases.conditioning(1), flux_cases.pulid_face(), flux_cases.pulid_face(40)
    masks = torch.rand(2, 1, 96, 128, generator=torch.Generator().manual_seed(3))
    patched = model, prompt, prompt
    for who, mask, weight in zip((one, other), masks, (0.9, 0.6), strict=True):
        patched = flux_cases.apply(patched[0], adapter, who, mask=mask, prompts=patched[1:], weight=weight)
    tokens = F.avg_pool2d(masks, 16).flatten(1)
    people = [(one[0], 0.9, tokens[0]), (other[0], 0.6, tokens[1])]
    theirs = with_pulid(made, model, state, people, prompt, 1)
    assert difference(flux_cases.sample(*patched, steps=1), theirs) < ONE_STEP
    assert difference(flux_cases.sample(*patched, steps=8), with_pulid(made, model, state, people, prompt, 8)) < WHOLE


def test_pulid_in_a_part_of_the_denoising(model, made, pulid):
    adapter, state = pulid
    prompt, who = flux_cases.conditioning(1), flux_cases.pulid_face()
    patched = flux_cases.apply(model, adapter, who, prompts=(prompt, prompt), end_at=0.5)
    until = float(model.get_model_object("model_sampling").percent_to_sigma(0.5))
    theirs = with_pulid(made, model, state, [(who[0], 1.0, None)], prompt, 8, until=until)
    assert difference(flux_cases.sample(*patched, steps=8), theirs) < WHOLE
    assert difference(theirs, with_pulid(made, model, state, [(who[0], 1.0, None)], prompt, 8)) > 1e-2


def test_pulid_leaves_reference_pictures_alone(model, made, pulid):
    adapter, state = pulid
    latent = randn(1, tiny.CHANNELS, 6, 8, seed=9)
    prompt, who = flux_cases.conditioning(1, reference_latents=[latent]), flux_cases.pulid_face()
    patched = flux_cases.apply(model, adapter, who, prompts=(prompt, prompt))
    more = {"references": [model.model.process_latent_in(latent)]}
    theirs = with_pulid(made, model, state, [(who[0], 1.0, None)], prompt, 1, more=more)
    assert difference(flux_cases.sample(*patched, steps=1), theirs) < ONE_STEP
    assert difference(theirs, with_pulid(made, model, state, [(who[0], 1.0, None)], prompt, 1)) > 1e-3


def test_pulid_with_true_guidance(model, made, pulid):
    """The negative prompt's half has nobody, at the same weight."""
    adapter, state = pulid
    positive, negative, who = flux_cases.conditioning(1), flux_cases.conditioning(2), flux_cases.pulid_face()
    patched = flux_cases.apply(model, adapter, who, prompts=(positive, negative), weight=0.8)
    halves = [
        with_pulid(made, model, state, [(face, 0.8, None)], prompt, 1)
        for face, prompt in zip(who, (positive, negative), strict=True)
    ]
    theirs = halves[1] + 3.0 * (halves[0] - halves[1])
    assert difference(flux_cases.sample(*patched, steps=1, cfg=3.0), theirs) < ONE_STEP
