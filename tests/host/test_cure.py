"""AttributeCure on ComfyUI's own U-Nets: exact no-ops, whom it leaves alone, under every sampler and guider."""

import copy
import dataclasses
import logging

import pytest
import torch
from cure_cases import PROMPT, Case, clip, prompt
from host_cases import SITES, adapter, apply, conditioning, identity, peer_patch, randn, sample

MODES = ["noise_blend", "shared_attention", "both"]
TRAJECTORIES = ["shared", "separate"]


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def models(pack):
    from tiny.unet import unet

    return {kind: unet(kind) for kind in SITES}


@pytest.fixture(scope="module")
def adapters(pack):
    return {kind: adapter(pack, kind) for kind in SITES}


@pytest.fixture(scope="module")
def cases(pack, models, adapters):
    return {kind: Case(pack, kind, models[kind], adapters[kind]) for kind in SITES}


@pytest.fixture
def case(cases, kind):
    return cases[kind]


@pytest.fixture
def sd15(cases):
    return cases["sd15"]


def seen_masks(case, **options):
    """The masks of each attribute that a run used, [B,A,H,W], and the attributes."""
    seen = []
    cured = case.cure(observe=lambda attributes, masks: seen.append((attributes, masks)), **options)
    case.sample(cured)
    [found] = seen
    return found


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_the_cure_changes_the_picture_and_repeats_itself(case, mode, trajectory):
    plain = case.sample(case.model)
    cured = case.cure(mode=mode, trajectory=trajectory)
    first = case.sample(cured)
    assert first.isfinite().all() and (first - plain).abs().max() > 1e-3
    assert torch.equal(case.sample(cured), first)
    assert torch.equal(case.sample(case.cure(mode=mode, trajectory=trajectory)), first)


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
    assert torch.equal(case.sample(late, steps=1), case.sample(case.model, steps=1))


def test_without_identity_there_is_nothing_to_cure(case, caplog):
    with caplog.at_level(logging.WARNING):
        cured = case.sample(case.cure(case.plain))
    assert torch.equal(cured, case.sample(case.plain)) and "carries no identity" in caplog.text


@pytest.mark.parametrize("identity_off", ["zero", "absent"])
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_where_the_mask_is_full_the_foundation_is_all_there_is(case, trajectory, identity_off):
    """With a mask of its own over everything, the result is the plain model's picture."""
    mask = torch.ones(1, 16, 16)
    mask[0, 0, 0] = 0.999  # all ones would be no mask
    cured = case.cure(trajectory=trajectory, mask=mask, settings={"source": "mask", "identity_off": identity_off})
    result, plain = case.sample(cured), case.sample(case.plain)
    if identity_off == "absent":
        torch.testing.assert_close(result, plain, atol=5e-3, rtol=0)
    personal = case.sample(case.model)
    assert (result - personal).abs().mean() > 0.2 * (plain - personal).abs().mean()


def test_identity_absent_is_exactly_the_plain_model(case):
    """`separate`: the foundation's own forward, bit for bit what the model without ApplyIDAdapter computes."""
    hooks = case.pack.module("core.host.cure_hooks").CureHooks
    seen, original = [], hooks.foundation

    def spying(self, run, guider, x, *rest):
        seen.append(original(self, run, guider, x, *rest))
        return seen[-1]

    hooks.foundation = spying
    try:
        case.sample(case.cure(trajectory="separate", settings={"identity_off": "absent"}))
    finally:
        hooks.foundation = original
    plain = []
    sample_with_callback(
        case.plain, case.conditionings, lambda step, denoised, x, total: plain.append(denoised.clone())
    )
    assert len(seen) == len(plain) == 3
    assert torch.equal(seen[0], plain[0])
    for one, other in zip(seen, plain, strict=True):  # later steps start from latents that differ in their last bits
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def sample_with_callback(model, conditionings, callback, steps=3, sampler="euler", **options):
    import comfy.sample

    noise, latent = randn(1, 4, 16, 16, seed=1), torch.zeros(1, 4, 16, 16)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, steps, 4.0, sampler, "simple", *conditionings, latent, seed=1, callback=callback, **options
        )


def test_upstream_is_untouched(case):
    options, before = copy.deepcopy(case.model.model_options), case.sample(case.model)
    positive = case.conditionings[0][0][1].copy()
    for mode in MODES:
        case.sample(case.cure(mode=mode, abstract_pass=0.5))
    assert case.conditionings[0][0][1].keys() == positive.keys()
    assert case.model.model_options.keys() == options.keys()
    assert "attn1" not in case.model.model_options["transformer_options"].get("patches_replace", {})
    assert "patches" not in case.model.model_options["transformer_options"]
    assert not case.model.get_wrappers("outer_sample", "likeness_cure")
    assert torch.equal(case.sample(case.model), before)


def test_the_global_random_state_is_untouched(sd15):
    before = torch.random.get_rng_state()
    sd15.cure(mode="both", abstract_pass=0.5)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
@pytest.mark.parametrize("shape", [(1, 4, 16, 24), (2, 4, 24, 16), (3, 4, 17, 25)])
def test_batches_and_odd_sizes(sd15, trajectory, shape):
    mask = (randn(2, 40, 30, seed=5) > 0).float()
    cured = sd15.cure(mode="both", trajectory=trajectory, mask=mask)
    result = sd15.sample(cured, shape=shape)
    assert result.shape == shape and result.isfinite().all()
    assert (result - sd15.sample(sd15.model, shape=shape)).abs().max() > 1e-3


def test_a_mask_batch_goes_by_picture(sd15):
    """The second picture's mask is empty, so it comes out as without the cure."""
    mask, shape = torch.stack([torch.ones(16, 16), torch.zeros(16, 16)]), (2, 4, 16, 16)
    for mode in MODES:
        plain, cured = sd15.sample(sd15.model, shape=shape), sd15.sample(sd15.cure(mode=mode, mask=mask), shape=shape)
        torch.testing.assert_close(cured[1], plain[1], atol=2e-4, rtol=0)
        assert (cured[0] - plain[0]).abs().max() > 1e-3


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_cfg_1(case, trajectory):
    plain, cured = case.sample(case.model, cfg=1.0), case.sample(case.cure(trajectory=trajectory, mode="both"), cfg=1.0)
    assert cured.isfinite().all() and (cured - plain).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name", ["euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "lcm", "euler_cfg_pp"]
)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_samplers(sd15, name, trajectory):
    cured = sd15.cure(mode="both", trajectory=trajectory, abstract_pass=0.5)
    result = sd15.sample(cured, sampler=name)
    assert result.isfinite().all() and (result - sd15.sample(sd15.model, sampler=name)).abs().max() > 1e-3


def test_a_trajectory_of_its_own_is_the_plain_models(case):
    """With Euler's sampler the foundation of `separate` walks exactly where the plain model would."""
    run_class = case.pack.module("core.host.cure_run").CureRun
    seen, original = [], run_class.follow

    def spying(self, x, sigmas):
        seen.append(original(self, x, sigmas)[0].clone())
        return seen[-1], None

    run_class.follow = spying
    try:
        case.sample(case.cure(trajectory="separate", settings={"identity_off": "absent"}), steps=4)
    finally:
        run_class.follow = original
    plain = []
    sample_with_callback(case.plain, case.conditionings, lambda i, denoised, x, total: plain.append(x.clone()), steps=4)
    for one, other in zip(seen, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_second_order_samplers_pay_no_evaluation_twice(sd15, trajectory):
    hooks, count = sd15.pack.module("core.host.cure_hooks").CureHooks, []
    original = hooks.foundation
    hooks.foundation = lambda self, *arguments: count.append(1) or original(self, *arguments)
    try:
        sd15.sample(sd15.cure(trajectory=trajectory), sampler="heun", steps=4)
    finally:
        hooks.foundation = original
    assert len(count) == {"shared": 0, "separate": 4}[trajectory]


def test_img2img_and_inpainting(sd15):
    """What an inpainting mask keeps stays as it was, abstract pass and all."""
    import comfy.sample

    latent, noise = randn(1, 4, 16, 16, seed=7), randn(1, 4, 16, 16, seed=8)
    keep = torch.ones(1, 1, 16, 16)
    keep[..., :8] = 0
    for trajectory in TRAJECTORIES:
        cured = sd15.cure(trajectory=trajectory, mode="both", abstract_pass=0.5)
        with torch.inference_mode():
            arguments = (4, 4.0, "euler", "simple", *sd15.conditionings, latent)
            changed = comfy.sample.sample(cured, noise, *arguments, denoise=0.6, seed=1)
            plain = comfy.sample.sample(sd15.model, noise, *arguments, denoise=0.6, seed=1)
            painted = comfy.sample.sample(cured, noise, *arguments, denoise=0.6, seed=1, noise_mask=keep)
        assert changed.isfinite().all() and (changed - plain).abs().max() > 1e-3
        torch.testing.assert_close(painted[..., :8], latent[..., :8], atol=1e-5, rtol=0)
        assert (painted[..., 8:] - latent[..., 8:]).abs().max() > 1e-2


def test_the_abstract_pass_is_in_the_progress_bar(sd15):
    steps = []
    cured = sd15.cure(abstract_pass=0.5, trajectory="separate")
    sample_with_callback(
        cured,
        sd15.conditionings,
        lambda step, denoised, x, total: steps.append((step, total, denoised.shape[0])),
        steps=4,
    )
    assert steps == [(index, 8, 1) for index in range(8)]  # 4 sampled, 2 up, 2 down; previews of one picture


def test_the_abstract_pass_needs_an_abstract_word(case):
    text = "a portrait, red hair"
    plain = case.sample(case.cure(prompt=text))
    assert torch.equal(case.sample(case.cure(prompt=text, abstract_pass=0.5)), plain)
    with_pass = case.sample(case.cure(abstract_pass=0.5))
    assert (with_pass - case.sample(case.cure())).abs().max() > 1e-3


def test_with_only_an_expression_the_pass_is_all(case):
    cured = case.cure(prompt="a portrait of a laughing woman", abstract_pass=0.5)
    assert "patches" not in cured.model_options["transformer_options"]
    assert (case.sample(cured) - case.sample(case.model)).abs().max() > 1e-3


def test_inversion_returns_the_picture(sd15):
    """Up and down with one and the same prompt, unguided, half of 20 steps: over 60 dB, and better with refinement.

    Over the range of the latent, on random weights that denoise tamely.
    """
    psnr = []
    for refine in (0, 1):
        cured = sd15.cure(prompt="a portrait, laughing", abstract_pass=0.5, settings={"refine": refine})
        hooks = cured.get_wrappers("outer_sample", "likeness_cure")[0].__self__
        same = sd15.pack.module("core.host.prompt").encode(clip("sd15"), PROMPT)
        cured = sd15.model.clone()
        type(hooks)(dataclasses.replace(hooks.plan, template=same)).install(cured)
        before, after = (sd15.sample(model, cfg=1.0, steps=20) for model in (sd15.model, cured))
        psnr.append(float(10 * torch.log10((before.max() - before.min()) ** 2 / (before - after).square().mean())))
    assert 60 < psnr[0] < psnr[1], psnr


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


def test_two_people_one_cured(pack, case, kind, adapters):
    """The left person is cured; what the mask leaves out stays as it was in a single step."""
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1, 1
    anna, bert = identity(pack, 5), identity(pack, 6)
    one = apply(pack, case.plain, *case.prompts, adapters[kind], anna, left, kind=kind)
    both = apply(pack, *one, adapters[kind], bert, right, kind=kind)
    cured = case.cure(both[0], mask=left)
    plain, result = sample(*both, steps=1), sample(cured, *both[1:], steps=1)
    torch.testing.assert_close(result[..., 8:], plain[..., 8:], atol=1e-4, rtol=0)
    assert (result[..., :8] - plain[..., :8]).abs().max() > 1e-3


def test_applied_after_the_cure_works_the_same(pack, case, kind, adapters):
    cured = case.cure(case.plain)
    late = apply(pack, cured, *case.prompts, adapters[kind], kind=kind)
    torch.testing.assert_close(sample(*late, steps=3), case.sample(case.cure()), atol=1e-4, rtol=1e-4)


def test_regional_prompts(sd15):
    """Several positive entries, some with areas or masks of their own: the cure follows the first prompt's words."""
    area = [[prompt(sd15.kind)[0][0], {**sd15.conditionings[0][0][1], "area": (8, 16, 8, 0), "strength": 1.0}]]
    masked = [[prompt(sd15.kind)[0][0], {**sd15.conditionings[0][0][1], "mask": torch.ones(1, 16, 16).tril()}]]
    for positive in (sd15.conditionings[0] + area, sd15.conditionings[0] + masked, area):
        for mode in MODES:
            result = sample(sd15.cure(mode=mode), positive, sd15.conditionings[1], steps=2)
            assert result.isfinite().all()
            assert (result - sample(sd15.model, positive, sd15.conditionings[1], steps=2)).abs().max() > 1e-3


def test_prompts_of_different_lengths(sd15):
    """A prompt of two chunks and a negative of one: every chunk is told right all the same."""
    text = "a portrait, " + "very " * 90 + ", curly red hair, laughing"
    positive = apply(
        sd15.pack,
        sd15.plain,
        prompt(sd15.kind, text),
        prompt(sd15.kind, "bad"),
        adapter(sd15.pack, sd15.kind),
        kind=sd15.kind,
    )
    assert positive[1][0][0].shape[1] == 154
    for mode in MODES:
        cured = sd15.cure(positive[0], prompt=text, mode=mode)
        assert (sample(cured, *positive[1:]) - sample(*positive)).abs().max() > 1e-3


def test_batches_taken_apart_by_memory(case, monkeypatch):
    """With little memory ComfyUI runs the foundation's rows before the others; keys and maps are the same."""
    for mode in MODES:
        cured = case.cure(mode=mode)
        together = case.sample(cured)
        with monkeypatch.context() as patch:
            patch.setattr("comfy.model_base.BaseModel.memory_required", lambda *arguments, **keywords: 1e30)
            apart = case.sample(cured)
        torch.testing.assert_close(apart, together, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("guider", ["cfg", "basic", "dual", "perp"])
def test_guiders(sd15, guider):
    """SamplerCustomAdvanced with every guider that ComfyUI has for such models."""
    result, plain = (custom(sd15, model, guider) for model in (sd15.cure(mode="both", abstract_pass=0.5), sd15.model))
    assert result.isfinite().all() and (result - plain).abs().max() > 1e-3


def custom(case, model, guider):
    import comfy.samplers
    from comfy_extras import nodes_custom_sampler, nodes_perpneg

    positive, negative = case.conditionings
    if guider == "cfg":
        made = comfy.samplers.CFGGuider(model)
        made.set_conds(positive, negative)
        made.set_cfg(4.0)
    elif guider == "basic":
        made = nodes_custom_sampler.Guider_Basic(model)
        made.set_conds(positive)
    elif guider == "dual":
        made = nodes_custom_sampler.Guider_DualCFG(model)
        made.set_conds(positive, conditioning(case.kind, seed=4), negative)
        made.set_cfg(4.0, 2.0)
    else:
        made = nodes_perpneg.Guider_PerpNeg(model)
        made.set_conds(positive, negative, conditioning(case.kind, seed=4))
        made.set_cfg(4.0, 1.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    with torch.inference_mode():
        return made.sample(
            randn(1, 4, 16, 16, seed=1),
            torch.zeros(1, 4, 16, 16),
            comfy.samplers.sampler_object("euler"),
            sigmas,
            seed=1,
        )


@pytest.mark.parametrize("source", ["cross", "semantic", "both"])
def test_a_mask_for_each_attribute(case, source):
    attributes, masks = seen_masks(case, settings={"source": source, "softness": 0.0})
    assert [one.text for one in attributes] == ["curly red hair", "green hat"]
    assert masks.shape == (1, 2, 16, 16) and masks.min() >= 0 and masks.max() <= 1
    assert source == "semantic" or not torch.equal(masks[:, 0], masks[:, 1])  # two may share their clusters


@pytest.mark.parametrize(
    "settings",
    [
        {"relative": True},
        {"tokens": "phrase"},
        {"threshold": 0.4},
        {"map_decay": 0.0},
        {"feather": 1.0},
        {"sharpen": 0.0},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_change_the_masks(sd15, settings):
    _, default = seen_masks(sd15)
    _, changed = seen_masks(sd15, settings=settings)
    assert changed.isfinite().all() and not torch.equal(changed, default)


def test_a_model_wrapper_that_cuts_tiles(sd15):
    """Half a picture at a time: no map is taken for the whole picture's, so only the artist's mask counts."""
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1

    def halves(function, arguments):
        cut = arguments["input"].chunk(2, dim=-1)
        return torch.cat([function(part, arguments["timestep"], **arguments["c"]) for part in cut], dim=-1)

    def tiled(model):
        model = model.clone()
        model.set_model_unet_function_wrapper(halves)
        return sd15.sample(model, steps=1)

    plain = tiled(sd15.model)
    assert torch.equal(tiled(sd15.cure(mode="both")), plain)
    masked = tiled(sd15.cure(mode="both", mask=left, settings={"source": "mask"}))
    assert torch.equal(masked[..., 8:], plain[..., 8:]) and (masked - plain).abs().max() > 1e-3


def test_the_mask_input_as_the_only_source(sd15):
    with pytest.raises(ValueError, match="no mask is connected"):
        sd15.cure(settings={"source": "mask"})
    everywhere = sd15.cure(mask=torch.ones(1, 8, 8), settings={"source": "mask", "identity_off": "absent"})
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


def test_half_precision_models(pack, adapters, kind):
    from tiny.unet import unet

    case = Case(pack, kind, unet(kind, dtype=torch.bfloat16), adapters[kind])
    for mode in MODES:
        assert case.sample(case.cure(mode=mode), steps=2).isfinite().all()
