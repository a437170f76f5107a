"""AttributeCure on ComfyUI's own U-Nets: exact no-ops, masks, and whom it leaves alone or gets along with."""

import copy
import logging

import pytest
import torch
from cure_cases import MODES, TRAJECTORIES, Case
from host_cases import apply, identity, peer_patch, sample


def half():
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    return mask


def seen_masks(case, steps=4, **options):
    """The attributes and the masks that a run used, [B,A,H,W] or [B,1,H,W]."""
    seen = []
    cured = case.cure(observe=lambda attributes, masks: seen.append((attributes, masks)), **options)
    case.sample(cured, steps=steps)
    [found] = seen
    return found


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_the_cure_changes_the_picture_and_repeats_itself(case, mode, trajectory):
    cured = case.cure(mode=mode, trajectory=trajectory)
    first = case.sample(cured)
    assert first.isfinite().all() and (first - case.uncured()).abs().max() > 1e-3
    assert torch.equal(case.sample(cured), first)


def test_a_cure_made_anew_gives_the_same_picture(sd15):
    assert torch.equal(sd15.sample(sd15.cure(mode="both")), sd15.sample(sd15.cure(mode="both")))


@pytest.mark.parametrize(
    "nothing",
    [
        {"weight": 0.0},
        {"start_at": 0.5, "end_at": 0.5},
        {"start_at": 0.8, "end_at": 0.2},
        {"mask": torch.zeros(1, 9, 9)},
    ],
    ids=["strength 0", "empty range", "reversed range", "mask 0"],
)
def test_nothing_is_exactly_nothing(case, nothing):
    assert case.cure(**nothing, mode="both", abstract_pass=0.5) is case.model


@pytest.mark.parametrize("mode", MODES)
def test_a_mask_of_ones_is_exactly_no_mask(case, mode):
    without, ones = case.cure(mode=mode), case.cure(mode=mode, mask=torch.ones(2, 60, 70))
    assert torch.equal(case.sample(ones), case.sample(without))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_outside_its_range_the_cure_is_exactly_not_there(sd15, mode, trajectory):
    """One step at the highest noise level, with a cure that works later and knows already where."""
    late = sd15.cure(prompt="a tree", mask=half(), start_at=0.5, trajectory=trajectory, mode=mode)
    assert torch.equal(sd15.sample(late, steps=1), sd15.uncured(steps=1))


def test_without_identity_there_is_nothing_to_cure(case, caplog):
    with caplog.at_level(logging.WARNING):
        cured = case.sample(case.cure(case.plain))
    assert torch.equal(cured, case.sample(case.plain)) and "carries no identity" in caplog.text


def test_upstream_is_untouched(case):
    options, before = copy.deepcopy(case.model.model_options), case.uncured(steps=2)
    positive = case.conditionings[0][0][1].copy()
    for mode in MODES:
        case.sample(case.cure(mode=mode, abstract_pass=0.5), steps=2)
    assert case.conditionings[0][0][1].keys() == positive.keys()
    assert case.model.model_options.keys() == options.keys()
    assert "attn1" not in case.model.model_options["transformer_options"].get("patches_replace", {})
    assert "patches" not in case.model.model_options["transformer_options"]
    assert not case.model.get_wrappers("outer_sample", "likeness_cure")
    assert torch.equal(case.sample(case.model, steps=2), before)


def test_the_global_random_state_is_untouched(sd15):
    before = torch.random.get_rng_state()
    sd15.cure(mode="both", abstract_pass=0.5)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
@pytest.mark.parametrize("mode", MODES)
def test_a_foundation_model_of_its_own(sd15, mode, trajectory):
    """The model as it was before the adapter, as foundation, gives what switching the identity off gives."""
    own = sd15.sample(sd15.cure(mode=mode, trajectory=trajectory))
    given = sd15.sample(sd15.cure(mode=mode, trajectory=trajectory, foundation=sd15.plain))
    torch.testing.assert_close(given, own, atol=2e-3, rtol=1e-3)


def test_a_foundation_loaded_separately(case, kind):
    from tiny.unet import unet

    own = case.sample(case.cure(mode="both"))
    cured = case.cure(mode="both", foundation=unet(kind))
    assert len(cured.get_additional_models()) == 1
    torch.testing.assert_close(case.sample(cured), own, atol=2e-3, rtol=1e-3)


def mean_shift(out, q, k, v, extra_options, amount=0.5, **_):
    assert set(extra_options["cond_or_uncond"]) <= {0, 1}  # what other packs know
    return torch.full_like(out, amount)


def test_another_packs_patch_stays_on_in_both(cases):
    case = cases["sdxl"]
    foreign = peer_patch(case.model, mean_shift)
    for mode in MODES:
        result = case.sample(case.cure(foreign, mode=mode))
        assert result.isfinite().all() and (result - case.sample(case.cure(mode=mode))).abs().max() > 1e-3


def test_another_packs_adapter_with_a_foundation(cases):
    case = cases["sdxl"]
    foreign = peer_patch(case.plain, mean_shift)
    for trajectory in TRAJECTORIES:
        cured = case.cure(foreign, mode="both", trajectory=trajectory, foundation=case.plain)
        assert (case.sample(cured) - case.sample(foreign)).abs().max() > 1e-3


def test_two_people_one_cured(case, kind):
    """The left person is cured; what the mask leaves out stays as it was in a single step."""
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1, 1
    anna, bert = identity(5), identity(6)
    one = apply(case.plain, *case.prompts, case.adapter, anna, left, kind=kind)
    both = apply(*one, case.adapter, bert, right, kind=kind)
    cured = case.cure(both[0], mask=left)
    plain, result = sample(*both, steps=1), sample(cured, *both[1:], steps=1)
    torch.testing.assert_close(result[..., 8:], plain[..., 8:], atol=2e-3, rtol=0)
    assert (result[..., :8] - plain[..., :8]).abs().max() > 1e-3


def test_applied_after_the_cure_works_the_same(case, kind):
    cured = case.cure(case.plain)
    late = apply(cured, *case.prompts, case.adapter, kind=kind)
    torch.testing.assert_close(sample(*late), case.sample(case.cure()), atol=1e-4, rtol=1e-4)


def test_attention_maps_give_a_mask_for_each_attribute_with_a_place(sd15):
    attributes, masks = seen_masks(sd15, mode="freecure")
    assert [one.text for one in attributes] == ["curly red hair", "green hat"]
    assert masks.shape == (1, 2, 16, 16) and set(masks.unique().tolist()) == {0, 1}
    assert not torch.equal(masks[:, 0], masks[:, 1])


def test_all_attributes_at_once_have_one_mask(case):
    _, masks = seen_masks(case)
    assert masks.shape == (1, 1, 16, 16) and masks.min() >= 0 and masks.max() <= 1 and masks.std() > 0.1


def test_only_attention_maps_need_the_words_positions(sd15):
    """An accent that joins the word in the tokenizer alone: its token is none of a tie's."""
    text = "a portrait, a bow tie\u0301"
    plan = sd15.cure(prompt=text).get_wrappers("outer_sample", "likeness_cure")[0].__self__.plan
    assert plan.select is None and plan.extra_keys is None
    with pytest.raises(ValueError, match="are not among the tokens"):
        sd15.cure(prompt=text, mode="freecure")


def test_freecure_leaves_expressions_to_the_abstract_pass(sd15):
    text = "a portrait of a laughing woman"
    with pytest.raises(ValueError, match="set abstract_pass to 0.5"):
        sd15.cure(prompt=text, mode="freecure")
    passed = sd15.cure(prompt=text, mode="freecure", abstract_pass=0.5)
    assert "patches" not in passed.model_options["transformer_options"]
    assert (sd15.sample(passed) - sd15.uncured()).abs().max() > 1e-3


def test_memory_returns_to_the_baseline(sd15):
    import gc

    def tensors():
        gc.collect()
        return sum(torch.is_tensor(thing) for thing in gc.get_objects())

    for mode in ("both", "freecure"):
        cured = sd15.cure(mode=mode, abstract_pass=0.5)
        sd15.sample(cured)
        before = tensors()
        for _ in range(3):
            sd15.sample(cured)
        assert tensors() <= before


def test_half_precision_models(case, kind):
    from tiny.unet import unet

    case = Case(kind, unet(kind, dtype=torch.bfloat16), case.adapter)
    for mode in MODES:
        assert case.sample(case.cure(mode=mode), steps=1).isfinite().all()
