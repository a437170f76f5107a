"""The response without identity against predictions of the plain model, written out: one step from noise to picture."""

import cv2
import pytest
import torch
from cure_cases import PROMPT, clip, prompt
from host_cases import sample
from likeness.core.cure.modes import GAIN

CFG = 4.0


@pytest.fixture(params=["sd15", "sdxl"])
def case(cases, request):
    return cases[request.param]


def predictions(case, positive=None):
    """Guided with identity, and conditional without: [1,4,16,16] each, of one and the same noise."""
    guided = case.uncured(steps=1, cfg=CFG)
    bare = sample(case.plain, positive or case.prompts[0], case.prompts[1], steps=1, cfg=1.0)
    return guided, bare


def lacking(case, *phrases):
    """The plain model's prediction for a prompt that lacks some phrases."""
    text = PROMPT
    for phrase in phrases:
        assert phrase in text
        text = text.replace(phrase, "")
    made = clip(case.kind)
    without = made.encode_from_tokens_scheduled(made.tokenize(text))
    return sample(case.plain, without, case.prompts[1], steps=1, cfg=1.0)


def unconditional_of(case):
    """The unconditional half as a personalised run evaluates it: guidance 2 and 1 part by it."""
    once, twice = (case.uncured(steps=1, cfg=cfg) for cfg in (1.0, 2.0))
    return 2 * once - twice


def cured(case, cfg=CFG, **options):
    """One cured step, and the mask [1,1,16,16] that it found."""
    seen = []
    model = case.cure(observe=lambda attributes, masks: seen.append(masks), **options)
    picture = case.sample(model, steps=1, cfg=cfg)
    [mask] = seen
    assert mask.shape == (1, 1, 16, 16) and mask.std() > 0.1
    return picture, mask


def test_the_prompts_response_is_a_second_guidance(case):
    """`D_p + cfg * gain * strength * mask * (F(prompt) - U)`; U is the personalised run's own."""
    guided, bare = predictions(case)
    picture, mask = cured(case, weight=0.5)
    expected = guided + CFG * GAIN * 0.5 * mask * (bare - unconditional_of(case))
    torch.testing.assert_close(picture, expected, atol=2e-3, rtol=1e-3)


def test_without_guidance_the_attributes_difference_serves(case):
    """At CFG 1 ComfyUI evaluates no unconditional half to compare with."""
    personal = case.uncured(steps=1, cfg=1.0)
    everything = lacking(case, ", (curly red hair:1.2)", ", wearing a green hat", ", laughing")
    picture, mask = cured(case, cfg=1.0)
    expected = personal + GAIN * mask * (predictions(case)[1] - everything)
    torch.testing.assert_close(picture, expected, atol=2e-3, rtol=1e-3)


def test_the_mask_is_where_the_attributes_make_a_difference(case):
    """Blurred by a twentieth of the side and stretched to 0..1, of which 0.4 and more is white."""
    everything = lacking(case, ", (curly red hair:1.2)", ", wearing a green hat", ", laughing")
    found = (predictions(case)[1] - everything).abs().mean(1)[0].numpy()
    found = cv2.GaussianBlur(found, (5, 5), 0.8, borderType=cv2.BORDER_REPLICATE)
    found = (found - found.min()) / (found.max() - found.min())
    expected = torch.from_numpy(found / 0.4).clamp(0, 1)
    torch.testing.assert_close(cured(case)[1][0, 0], expected, atol=2e-3, rtol=0)


def test_a_mask_without_attributes_takes_the_whole_prompt(case):
    """There is nothing to leave out but the prompt."""
    guided, bare = predictions(case, prompt(case.kind, "a tree"))
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    plain = sample(case.model, *with_text(case, "a tree"), steps=1, cfg=1.0)
    picture = sample(case.cure(prompt="a tree", mask=mask), *with_text(case, "a tree"), steps=1, cfg=1.0)
    nothing = sample(case.plain, prompt(case.kind, ""), case.prompts[1], steps=1, cfg=1.0)
    expected = plain + GAIN * mask * (bare - nothing)
    torch.testing.assert_close(picture, expected, atol=2e-3, rtol=1e-3)


def with_text(case, text):
    import host_cases

    _, positive, negative = host_cases.apply(
        case.plain, prompt(case.kind, text), case.prompts[1], case.adapter, kind=case.kind
    )
    return positive, negative


@pytest.mark.parametrize(
    "options, expected",
    [
        # personalised, unconditional, twin; the fourth finds the attributes, in every other of the first 40 percent
        ({}, [4, 3, 4, 3, 3, 3]),
        ({"mode": "shared_attention"}, [4, 3, 4, 3, 3, 3]),
        ({"end_at": 0.6}, [4, 3, 4, 3, 2, 2]),
        ({"mode": "freecure"}, [4, 4, 4, 4, 4, 4]),  # both halves have a twin
    ],
    ids=str,
)
def test_rows_of_the_batch_in_each_step(cases, options, expected):
    """What the cure costs; the plain run has two."""
    case, rows = cases["sd15"], []

    def counting(function, given):
        rows.append(len(given["input"]))
        return function(given["input"], given["timestep"], **given["c"])

    model = case.cure(**options).clone()
    model.set_model_unet_function_wrapper(counting)
    case.sample(model, steps=6)
    assert rows == expected
