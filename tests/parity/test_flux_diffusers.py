"""Adapters on FLUX against diffusers' FLUX with the authors' formulas written out: whole samplings, by Euler."""

import math
from functools import partial

import flux_cases
import flux_reference
import pytest
from flux_reference import ONE_STEP, WHOLE, by_euler, difference, velocity
from tiny import flux as tiny
from torch.nn import functional as F


@pytest.fixture(scope="module")
def model():
    return tiny.flux()


@pytest.fixture(scope="module")
def made(model):
    return flux_reference.reference(model.model)


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
