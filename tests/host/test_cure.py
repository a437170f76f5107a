"""AttributeCure on ComfyUI's own U-Nets: exact no-ops, masks, and whom it leaves alone or gets along with."""

import copy
import logging

import pytest
import torch
from cure_cases import MODES, TRAJECTORIES, Case
from host_cases import apply, identity, peer_patch, sample


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


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_outside_its_range_the_cure_is_exactly_not_there(case, trajectory):
    """One step at the highest noise level, with a cure that works later."""
    late = case.cure(start_at=0.5, trajectory=trajectory, mode="both", settings={"map_start": 0.5})
    assert torch.equal(case.sample(late, steps=1), case.uncured(steps=1))


def test_without_identity_there_is_nothing_to_cure(case, caplog):
    with caplog.at_level(logging.WARNING):
        cured = case.sample(case.cure(case.plain))
    assert torch.equal(cured, case.sample(case.plain)) and "carries no identity" in caplog.text


@pytest.mark.parametrize("identity_off", ["zero", "absent"])
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_where_the_mask_is_full_the_foundation_is_all_there_is(sd15, trajectory, identity_off):
    """With a mask of its own over everything, the result is the plain model's picture."""
    mask = torch.ones(1, 16, 16)
    mask[0, 0, 0] = 0.999  # all ones would be no mask
    settings = {"source": "mask", "blend": "eps", "identity_off": identity_off}
    cured = sd15.cure(trajectory=trajectory, mask=mask, settings=settings)
    result, plain = sd15.sample(cured), sd15.sample(sd15.plain)
    if identity_off == "absent":
        torch.testing.assert_close(result, plain, atol=5e-3, rtol=0)
    personal = sd15.uncured()
    assert (result - personal).abs().mean() > 0.2 * (plain - personal).abs().mean()


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
    settings = {"identity_off": "absent"}
    own = sd15.sample(sd15.cure(mode=mode, trajectory=trajectory, settings=settings))
    given = sd15.sample(sd15.cure(mode=mode, trajectory=trajectory, settings=settings, foundation=sd15.plain))
    torch.testing.assert_close(given, own, atol=2e-3, rtol=1e-3)


def test_a_foundation_loaded_separately(case, kind):
    from tiny.unet import unet

    settings = {"identity_off": "absent"}
    own = case.sample(case.cure(mode="both", settings=settings))
    cured = case.cure(mode="both", settings=settings, foundation=unet(kind))
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


def test_two_people_one_cured(pack, case, kind):
    """The left person is cured; what the mask leaves out stays as it was in a single step."""
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1, 1
    anna, bert = identity(pack, 5), identity(pack, 6)
    one = apply(pack, case.plain, *case.prompts, case.adapter, anna, left, kind=kind)
    both = apply(pack, *one, case.adapter, bert, right, kind=kind)
    cured = case.cure(both[0], mask=left)
    plain, result = sample(*both, steps=1), sample(cured, *both[1:], steps=1)
    torch.testing.assert_close(result[..., 8:], plain[..., 8:], atol=2e-3, rtol=0)
    assert (result[..., :8] - plain[..., :8]).abs().max() > 1e-3


def test_applied_after_the_cure_works_the_same(pack, case, kind):
    cured = case.cure(case.plain)
    late = apply(pack, cured, *case.prompts, case.adapter, kind=kind)
    torch.testing.assert_close(sample(*late), case.sample(case.cure()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", ["noise_blend", "shared_attention"])
@pytest.mark.parametrize("source", ["difference", "cross", "semantic", "both"])
def test_a_mask_for_each_attribute(sd15, source, mode):
    attributes, masks = seen_masks(sd15, mode=mode, settings={"source": source, "softness": 0.0, "compare": "each"})
    assert [one.text for one in attributes] == ["curly red hair", "green hat", "laughing"]
    assert masks.shape == (1, 3, 16, 16) and masks.min() >= 0 and masks.max() <= 1
    assert source == "semantic" or not torch.equal(masks[:, 0], masks[:, 1])  # two may share their clusters


def test_all_attributes_at_once_have_one_mask(case):
    _, masks = seen_masks(case)
    assert masks.shape == (1, 1, 16, 16) and masks.min() >= 0 and masks.max() <= 1 and masks.std() > 0.1


@pytest.fixture(scope="module")
def default_masks():
    """The masks of each source with every setting at rest, by what computes them."""
    known = {}

    def masks(source, compute):
        if source not in known:
            known[source] = compute()
        return known[source]

    return masks


@pytest.mark.parametrize(
    "settings",
    [
        {"relative": False},
        {"map_rows": "both"},
        {"tokens": "phrase"},
        {"threshold": 0.4},
        {"softness": 0.1},
        {"map_decay": 0.0},
        {"feather": 1.0},
        {"sharpen": 10.0},
        {"blur": 0.2},
        {"map_end": 0.3},
        {"map_stride": 2},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_change_the_masks(sd15, default_masks, settings):
    source = "cross" if set(settings) & {"relative", "map_rows", "tokens"} else "difference"
    base = {"source": source, "map_end": 1.0, "map_stride": 1}
    default = default_masks(source, lambda: seen_masks(sd15, settings=base)[1])
    _, changed = seen_masks(sd15, settings=base | settings)
    assert changed.isfinite().all() and not torch.equal(changed, default)


def test_the_mask_input_as_the_only_source(sd15):
    with pytest.raises(ValueError, match="no mask is connected"):
        sd15.cure(settings={"source": "mask"})
    everywhere = sd15.cure(mask=torch.ones(1, 8, 8), settings={"source": "mask", "blend": "eps"})
    torch.testing.assert_close(sd15.sample(everywhere), sd15.sample(sd15.plain), atol=5e-3, rtol=0)


def test_memory_returns_to_the_baseline(sd15):
    import gc

    def tensors():
        gc.collect()
        return sum(torch.is_tensor(thing) for thing in gc.get_objects())

    cured = sd15.cure(mode="both", abstract_pass=0.5, settings={"source": "both"})
    sd15.sample(cured)
    before = tensors()
    for _ in range(3):
        sd15.sample(cured)
    assert tensors() <= before


def test_half_precision_models(case, kind):
    from tiny.unet import unet

    case = Case(case.pack, kind, unet(kind, dtype=torch.bfloat16), case.adapter)
    for mode in MODES:
        assert case.sample(case.cure(mode=mode), steps=1).isfinite().all()
