"""WithAnyone on FLUX against diffusers' FLUX with the authors' formulas written out (withanyone/flux/model.py)."""

from functools import partial

import flux_cases
import flux_reference
import pytest
import torch
from flux_reference import ONE_STEP, WHOLE, by_euler, difference, guided, velocity
from host_cases import randn
from likeness.core.adapters import Choices
from likeness.core.host.adapters.adapter import Settings
from tiny import flux as tiny
from torch.nn import functional as F

HEIGHT, WIDTH, TOKEN = 96, 128, 16  # of the picture in pixels, and a side of a picture token
APART = [(0, 16, 48, 64), (64, 32, 128, 96)]  # x from, y from, x to, y to
OVERLAPPING = [(0, 16, 80, 64), (48, 32, 128, 96)]
EVERYWHERE = (1.0, 0.0)


@pytest.fixture(scope="module")
def adapter():
    return flux_cases.withanyone()


def perceptron(state, key, x):
    x = F.gelu(F.linear(x, state[f"{key}.0.weight"], state[f"{key}.0.bias"]))
    x = F.layer_norm(x, x.shape[-1:], state[f"{key}.2.weight"], state[f"{key}.2.bias"])
    return F.linear(x, state[f"{key}.3.weight"], state[f"{key}.3.bias"])


def attention(state, key, people, picture, allowed):
    """The picture's tokens [B,N,C] look at the tokens of people [(T,C)], where `allowed` [N,people] lets them."""

    def part(name):
        return state[f"{key}.{name}.weight"], state.get(f"{key}.{name}.bias")

    face = torch.cat(people)
    face = F.layer_norm(face, face.shape[-1:], *part("norm1"))
    q = F.layer_norm(picture, picture.shape[-1:], *part("norm2")) @ part("to_q")[0].T
    k, v = (face @ part("to_kv")[0].T).chunk(2, dim=-1)
    seen = torch.cat([allowed[:, i : i + 1].expand(-1, len(one)) for i, one in enumerate(people)], dim=1)
    out = []
    for queries, keys, values in zip(*(one.split(64, -1) for one in (q, k, v)), strict=True):
        shares = (queries @ keys.T / 8).masked_fill(~seen, -torch.inf).softmax(-1)
        out.append(shares.nan_to_num(0.0) @ values)  # where nobody is there is nothing to see
    return torch.cat(out, -1) @ part("to_out")[0].T


def allowed_by(boxes):
    """Which picture tokens may look at whom [N,people], by boxes in pixels."""
    grid = torch.zeros(HEIGHT // TOKEN, WIDTH // TOKEN, len(boxes), dtype=torch.bool)
    for i, (left, top, right, bottom) in enumerate(boxes):
        grid[top // TOKEN : -(-bottom // TOKEN), left // TOKEN : -(-right // TOKEN), i] = True
    return grid.flatten(0, 1)


def mask_of(box):
    """An attn_mask [1,H,W] of a box."""
    mask = torch.zeros(1, HEIGHT, WIDTH)
    left, top, right, bottom = box
    mask[:, top:bottom, left:right] = 1
    return mask


def published(state, faces, boxes, id_weight, siglip_weight):
    """What is added after each block."""
    size = state["siglip_in_sig.3.weight"].shape[0]
    arc = [perceptron(state, "arcface_in_arc", face.vectors[0]).view(-1, size) for face in faces]
    sig = []
    for face in faces:
        seen = perceptron(state, "siglip_in_sig", face.seen.hidden[0][0])
        sig.append(torch.cat([seen, perceptron(state, "arcface_in_sig", face.vectors[0]).view(-1, size)]))
    allowed = allowed_by(boxes)

    def added(number, picture):
        by_arc = attention(state, f"ipa_arc.{number}", arc, picture, allowed)
        return id_weight * by_arc + siglip_weight * attention(state, f"ipa_sig.{number}", sig, picture, allowed)

    return added


def applied(model, adapter, people, boxes, prompts, structure=1.0, **strength):
    state = model, *prompts
    for who, box in zip(people, boxes, strict=True):
        mask = None if box is None else mask_of(box)
        settings = Settings(choices=Choices(structure=structure))
        state = flux_cases.apply(state[0], adapter, who, mask, state[1:], settings, **strength)
    return state


def test_both_halves_are_what_the_authors_slider_makes_of_them(model, made, adapter):
    prompt, who, state = (
        flux_cases.conditioning(1),
        flux_cases.withanyone_face(),
        dict(adapter.patcher.model.state_dict()),
    )
    everywhere = [(0, 0, WIDTH, HEIGHT)]
    for structure, weights in {0.0: (1, 0), 0.35: (0.65, 0.35), 1.0: (0, 1)}.items():
        ours = applied(model, adapter, [who], [None], (prompt, prompt), structure, weight=0.9)
        added = published(state, who[:1], everywhere, *(0.9 * weight for weight in weights))
        theirs = velocity(made, prompt, partial(flux_reference.add_after, made, range(57), added))
        assert difference(flux_cases.sample(*ours, steps=1), by_euler(model, theirs, 1)) < ONE_STEP
    beyond = applied(model, adapter, [who], [None], (prompt, prompt), 1.5, weight=0.9)  # the slider ends at 1
    assert difference(flux_cases.sample(*beyond, steps=1), by_euler(model, theirs, 1)) < ONE_STEP


@pytest.mark.parametrize("boxes", [APART, OVERLAPPING, None], ids=["apart", "overlapping", "no boxes"])
def test_two_people(model, made, adapter, boxes):
    prompt, people = flux_cases.conditioning(1), [flux_cases.withanyone_face(seed) for seed in (0, 50)]
    state = dict(adapter.patcher.model.state_dict())
    added = published(state, [face for face, _ in people], boxes or [(0, 0, WIDTH, HEIGHT)] * 2, 0.6, 0.4)
    theirs = by_euler(model, velocity(made, prompt, partial(flux_reference.add_after, made, range(57), added)), 1)
    plain = flux_cases.sample(model, prompt, prompt, steps=1)
    masks = boxes or [None, None]
    for order in (slice(None), slice(None, None, -1)):
        ours = applied(model, adapter, people[order], masks[order], (prompt, prompt), 0.4, weight=1.0)
        assert difference(flux_cases.sample(*ours, steps=1), theirs) < ONE_STEP
    assert difference(theirs, plain) > 1e-2


def test_a_masked_person_in_a_part_of_eight_steps_under_true_guidance(model, made, adapter):
    """The negative prompt gets nothing."""
    positive, negative = prompts = flux_cases.conditioning(1), flux_cases.conditioning(5)
    who, box = flux_cases.withanyone_face(), OVERLAPPING[0]
    span = {"start_at": 0.1, "end_at": 0.7}
    ours = applied(model, adapter, [who], [box], prompts, 0.5, weight=0.8, **span)
    added = published(dict(adapter.patcher.model.state_dict()), who[:1], [box], 0.4, 0.4)
    sampling = model.get_model_object("model_sampling")
    levels = tuple(float(sampling.percent_to_sigma(share)) for share in span.values())
    put = partial(flux_reference.add_after, made, range(57), added)
    theirs = guided(velocity(made, positive, put, levels), velocity(made, negative), 2.0)
    assert difference(flux_cases.sample(*ours, steps=8, cfg=2.0), by_euler(model, theirs, 8)) < WHOLE


def test_ke_adds_to_the_picture_and_not_to_its_reference(model, made):
    """withanyone_kontext_e/flux/model.py: 8 tokens of the face vector, which only the main tokens look at."""
    adapter, who = flux_cases.withanyone_ke(), flux_cases.withanyone_face()
    reference = randn(1, tiny.CHANNELS, 12, 16, seed=9)
    prompt = flux_cases.conditioning(1, reference_latents=[reference])
    state = dict(adapter.patcher.model.state_dict())
    tokens = perceptron(state, "arcface_in", who[0].vectors[0]).view(8, -1)
    allowed = allowed_by(APART[:1])

    def added(number, picture):
        main = picture[:, : len(allowed)]
        return F.pad(
            attention(state, f"ipa.{number}", [tokens], main, allowed), (0, 0, 0, picture.shape[1] - len(allowed))
        )

    put = partial(flux_reference.add_after, made, range(57), added)
    theirs = velocity(made, prompt, put, references=[model.model.process_latent_in(reference)])
    ours = applied(model, adapter, [who], APART[:1], (prompt, prompt), weight=1.0)
    assert difference(flux_cases.sample(*ours, steps=1), by_euler(model, theirs, 1)) < ONE_STEP


def test_each_cross_attention_runs_once_a_step(model, adapter):
    """Of two people too; and where one half has no weight, none of its do."""
    prompt, layers = flux_cases.conditioning(1), adapter.patcher.model
    people = [flux_cases.withanyone_face(seed) for seed in (0, 50)]
    for structure, expected in {0.5: (1, 1), 1.0: (0, 1)}.items():
        ours = applied(model, adapter, people, APART, (prompt, prompt), structure)
        counts = flux_cases.calls([*layers.ipa_arc, *layers.ipa_sig], *ours)
        assert (counts[:57], counts[57:]) == tuple([count] * 57 for count in expected)
