"""The foundation's response, against the predictions of the plain model written out: one step from noise to picture."""

import pytest
import torch
from cure_cases import PROMPT, clip, prompt
from host_cases import sample

GAIN, CFG = 0.8, 4.0
EVERYWHERE = {"mask": torch.ones(1, 16, 16), "settings": {"source": "mask"}}


@pytest.fixture(params=["sd15", "sdxl"])
def case(cases, request):
    return cases[request.param]


def predictions(case, positive=None):
    """Guided with identity, conditional without, unconditional with it: [1,4,16,16] each, of one and the same noise."""
    negative = case.conditionings[1]
    guided = case.uncured(steps=1, cfg=CFG)
    foundation = sample(case.plain, positive or case.prompts[0], case.prompts[1], steps=1, cfg=1.0)
    unconditional = sample(case.model, negative, negative, steps=1, cfg=1.0)
    return guided, foundation, unconditional


def lacking(case, *phrases):
    """The foundation's prediction for a prompt that lacks some phrases."""
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


def test_the_prompts_response_is_a_second_guidance(case):
    """`D_p + cfg * gain * strength * (F(prompt) - U)` under a full mask; U is the personalised run's own."""
    guided, foundation, _ = predictions(case)
    cured = case.sample(case.cure(weight=0.5, **EVERYWHERE), steps=1, cfg=CFG)
    expected = guided + CFG * GAIN * 0.5 * (foundation - unconditional_of(case))
    torch.testing.assert_close(cured, expected, atol=2e-3, rtol=1e-3)


def test_the_attributes_response_is_the_difference_they_make(case):
    guided, foundation, _ = predictions(case)
    everything = lacking(case, ", (curly red hair:1.2)", ", wearing a green hat", ", laughing")
    expected = guided + CFG * GAIN * (foundation - everything)
    settings = {"source": "mask", "response": "attributes"}
    cured = case.sample(case.cure(mask=torch.ones(1, 9, 9), settings=settings), steps=1, cfg=CFG)
    torch.testing.assert_close(cured, expected, atol=2e-3, rtol=1e-3)


def test_without_guidance_the_attributes_difference_serves(case):
    """At CFG 1 ComfyUI evaluates no unconditional half to compare with."""
    personal = case.uncured(steps=1, cfg=1.0)
    everything = lacking(case, ", (curly red hair:1.2)", ", wearing a green hat", ", laughing")
    foundation = predictions(case)[1]
    cured = case.sample(case.cure(**EVERYWHERE), steps=1, cfg=1.0)
    torch.testing.assert_close(cured, personal + GAIN * (foundation - everything), atol=2e-3, rtol=1e-3)


def test_each_attribute_has_its_own_difference_and_mask(case):
    seen = []
    settings = {"response": "attributes", "compare": "each", "blur": 0.0, "softness": 0.0}
    cured = case.cure(settings=settings, observe=lambda attributes, masks: seen.append(masks))
    result = case.sample(cured, steps=1, cfg=CFG)
    guided, foundation, _ = predictions(case)
    expected = guided.clone()
    for number, phrase in enumerate((", (curly red hair:1.2)", ", wearing a green hat", ", laughing")):
        expected += CFG * GAIN * seen[0][:, number, None] * (foundation - lacking(case, phrase))
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=1e-3)


def test_a_mask_without_attributes_takes_the_whole_prompt(case):
    """There is nothing to leave out but the prompt."""
    guided, foundation, _ = predictions(case, prompt(case.kind, "a tree"))
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    plain = sample(case.model, *with_text(case, "a tree"), steps=1, cfg=1.0)
    cured = sample(case.cure(prompt="a tree", mask=mask), *with_text(case, "a tree"), steps=1, cfg=1.0)
    nothing = sample(case.plain, prompt(case.kind, ""), case.prompts[1], steps=1, cfg=1.0)
    expected = plain + GAIN * mask * (foundation - nothing)
    torch.testing.assert_close(cured, expected, atol=2e-3, rtol=1e-3)


def with_text(case, text):
    import host_cases

    _, positive, negative = host_cases.apply(
        case.pack, case.plain, prompt(case.kind, text), case.prompts[1], case.adapter, kind=case.kind
    )
    return positive, negative


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, [4, 3, 4, 3, 3]),  # personalised, unconditional, foundation; the fourth finds the attributes
        ({"map_stride": 1}, [4, 4, 4, 3, 3]),
        ({"map_end": 1.0, "map_stride": 1, "compare": "each"}, [6, 6, 6, 6, 6]),
        ({"refresh": 2}, [4, 2, 4, 2, 3]),
        ({"response": "attributes"}, [4, 4, 4, 4, 4]),
        ({"blend": "eps"}, [5, 4, 5, 4, 4]),
        ({"blend": "eps", "identity_off": "zero"}, [4, 3, 4, 3, 3]),
    ],
    ids=str,
)
def test_rows_of_the_batch_in_each_step(cases, settings, expected):
    """What the cure costs; the plain run has two."""
    case, rows = cases["sd15"], []

    def counting(function, given):
        rows.append(len(given["input"]))
        return function(given["input"], given["timestep"], **given["c"])

    cured = case.cure(settings={"map_end": 0.55, **settings}).clone()
    cured.set_model_unet_function_wrapper(counting)
    case.sample(cured, steps=5, scheduler="simple")
    assert rows == expected
