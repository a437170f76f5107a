"""Plain IP-Adapters on FLUX: XLabs' against diffusers' own loader and processors, InstantX's with its formulas.

InstantX's are those of ComfyUI-IPAdapter-Flux (attention_processor.py, flux/layers.py).
"""

from functools import partial

import flux_cases
import flux_reference
import pytest
import torch
from flux_reference import ONE_STEP, WHOLE, by_euler, difference, guided, velocity
from tiny import flux_ip
from torch.nn import functional as F


@pytest.fixture(scope="module")
def xlabs_made(model):
    """diffusers' FLUX with the tiny XLabs adapter, loaded by its own names of the keys."""
    made, nested = flux_reference.reference(model.model), flux_ip.xlabs()
    names = (
        ("processor.ip_adapter_double_stream_k_proj", "to_k_ip"),
        ("processor.ip_adapter_double_stream_v_proj", "to_v_ip"),
    )
    blocks = nested["double_blocks"]
    for theirs, ours in names:
        blocks = {key.replace(theirs, ours): tensor for key, tensor in blocks.items()}
    state = {"image_proj": nested["ip_adapter_proj_model"], "ip_adapter": blocks}
    made._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    return made


def with_scale(made, scale):
    for name, processor in made.attn_processors.items():
        if not name.startswith("single"):
            processor.scale = [scale]
    return made


def seen(made, prompt, face, levels=(1.0, 0.0)):
    """diffusers' prediction with a picture; at noise levels outside of (from, to) with a scale of 0."""
    scale = next(iter(made.attn_processors.values())).scale[0]

    def at(x, sigma):
        with_scale(made, scale if levels[0] >= sigma >= levels[1] else 0.0)
        embeddings = {"ip_adapter_image_embeds": [face.seen.pooled[:, None]]}  # which diffusers takes out of it
        out = velocity(made, prompt, joint_attention_kwargs=embeddings)(x, sigma)
        with_scale(made, scale)
        return out

    return at


def test_xlabs(model, made, xlabs_made):
    prompt, who = flux_cases.conditioning(1), flux_cases.picture(flux_ip.CLIP)
    ours = flux_cases.apply(model, flux_cases.xlabs(), who, weight=0.7, prompts=(prompt, prompt))
    theirs = by_euler(model, seen(with_scale(xlabs_made, 0.7), prompt, who[0]), 1)
    assert difference(flux_cases.sample(*ours, steps=1), theirs) < ONE_STEP
    assert difference(by_euler(model, velocity(made, prompt), 1), theirs) > 1e-2


def test_xlabs_under_true_guidance_in_a_part_of_eight_steps(model, xlabs_made):
    """The negative prompt sees nobody's picture, in the same part."""
    positive, negative = prompts = flux_cases.conditioning(1), flux_cases.conditioning(5)
    who, span = flux_cases.picture(flux_ip.CLIP), {"start_at": 0.1, "end_at": 0.7}
    ours = flux_cases.apply(model, flux_cases.xlabs(), who, weight=0.9, prompts=prompts, **span)
    sampling = model.get_model_object("model_sampling")
    levels = tuple(float(sampling.percent_to_sigma(share)) for share in span.values())
    made = with_scale(xlabs_made, 0.9)
    theirs = guided(seen(made, positive, who[0], levels), seen(made, negative, who[1], levels), 2.0)
    assert difference(flux_cases.sample(*ours, steps=8, cfg=2.0), by_euler(model, theirs, 8)) < WHOLE


def instantx_added(nested, face, weight, mask=None):
    """What is added inside each attention; `mask` [N,1] on the picture's tokens, and its mean on the prompt's."""
    projection = nested["image_proj"]
    x = F.linear(face.seen.pooled, projection["proj.0.weight"], projection["proj.0.bias"])
    x = F.linear(F.gelu(x), projection["proj.2.weight"], projection["proj.2.bias"]).view(-1, flux_ip.TEXT)
    tokens = F.layer_norm(x, x.shape[-1:], projection["norm.weight"], projection["norm.bias"])

    def added(number, q, heads):
        k, v = (tokens @ nested["ip_adapter"][f"{number}.to_{part}_ip.weight"].T for part in "kv")
        out = []
        for queries, keys, values in zip(*(one.chunk(heads, -1) for one in (q, k, v)), strict=True):
            keys, values = (one / (one.square().mean(-1, keepdim=True) + 1e-5).sqrt() for one in (keys, values))
            out.append((queries @ keys.T / keys.shape[-1] ** 0.5).softmax(-1) @ values)
        out = weight * torch.cat(out, -1)
        if mask is None:
            return out
        text = q.shape[1] - len(mask)
        return out * torch.cat([mask.mean(0, keepdim=True).expand(text, -1), mask])

    return added


def test_instantx(model, made):
    """In eight steps under true guidance too, of which the negative prompt gets nothing."""
    positive, negative = prompts = flux_cases.conditioning(1), flux_cases.conditioning(5)
    who, nested = flux_cases.picture(flux_ip.SIGLIP), flux_ip.instantx()
    ours = flux_cases.apply(model, flux_cases.instantx(), who, weight=0.7, prompts=prompts)
    put = partial(flux_reference.add_inside, made, instantx_added(nested, who[0], 0.7))
    theirs = velocity(made, positive, put)
    assert difference(flux_cases.sample(*ours, steps=1), by_euler(model, theirs, 1)) < ONE_STEP
    assert difference(by_euler(model, velocity(made, positive), 1), by_euler(model, theirs, 1)) > 1e-2
    theirs = guided(theirs, velocity(made, negative), 2.0)
    assert difference(flux_cases.sample(*ours, steps=8, cfg=2.0), by_euler(model, theirs, 8)) < WHOLE


def test_instantx_in_a_part_of_the_picture(model, made):
    prompt, who = flux_cases.conditioning(1), flux_cases.picture(flux_ip.SIGLIP)
    mask = torch.zeros(6, 8)
    mask[1:5, 2:5] = 1
    pixels = mask.repeat_interleave(16, 0).repeat_interleave(16, 1)[None]
    ours = flux_cases.apply(model, flux_cases.instantx(), who, pixels, (prompt, prompt))
    added = instantx_added(flux_ip.instantx(), who[0], 1.0, mask.view(-1, 1))
    theirs = velocity(made, prompt, partial(flux_reference.add_inside, made, added))
    assert difference(flux_cases.sample(*ours, steps=1), by_euler(model, theirs, 1)) < ONE_STEP


def test_every_site_runs_once_a_step(model):
    prompt = flux_cases.conditioning(1)
    for adapter, numbers, count in (
        (flux_cases.xlabs(), flux_ip.CLIP, 19),
        (flux_cases.xlabs(16), flux_ip.CLIP, 19),
        (flux_cases.instantx(), flux_ip.SIGLIP, 57),
    ):
        ours = flux_cases.apply(model, adapter, flux_cases.picture(numbers), prompts=(prompt, prompt))
        assert flux_cases.calls(flux_cases.sites_of(ours[0]), *ours) == [1] * count


def test_order_makes_no_difference(model):
    """PuLID's, XLabs' and InstantX's on one model: all of them see the blocks as they are without the others."""
    prompt = flux_cases.conditioning(1)
    three = [
        (flux_cases.pulid_flux(), flux_cases.pulid_face()),
        (flux_cases.xlabs(), flux_cases.picture(flux_ip.CLIP)),
        (flux_cases.instantx(), flux_cases.picture(flux_ip.SIGLIP)),
    ]
    pictures = []
    for order in (three, three[::-1]):
        state = model, prompt, prompt
        for adapter, who in order:
            state = flux_cases.apply(state[0], adapter, who, prompts=state[1:])
        pictures.append(flux_cases.sample(*state, steps=1))
    assert difference(*pictures) < ONE_STEP
