"""AttributeCure under ComfyUI's samplers and guiders, with every kind of prompt, batch and mask that they take."""

import dataclasses

import pytest
import torch
from cure_cases import GUIDERS, MODES, PROMPT, TRAJECTORIES, clip, custom, prompt
from host_cases import adapter, apply, randn, sample
from likeness.core.host.conditioning.prompt import encode
from likeness.core.host.cure.hooks import CureHooks
from likeness.core.host.cure.trajectory import OwnTrajectory


def test_identity_absent_is_exactly_the_plain_model(case):
    """`separate`: the foundation's own forward, bit for bit what the model without ApplyIDAdapter computes."""
    seen, original = [], CureHooks.guided

    def spying(self, run, guider, x, *rest):
        seen.append(original(self, run, guider, x, *rest))
        return seen[-1]

    CureHooks.guided = spying
    try:
        case.sample(case.cure(trajectory="separate"), steps=3)
    finally:
        CureHooks.guided = original
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


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
@pytest.mark.parametrize("shape", [(1, 4, 16, 24), (2, 4, 16, 8), (3, 4, 9, 17)])
def test_batches_and_odd_sizes(sd15, trajectory, shape):
    mask = (randn(2, 40, 30, seed=5) > 0).float()
    cured = sd15.cure(mode="both", trajectory=trajectory, mask=mask)
    result = sd15.sample(cured, shape=shape, steps=2)
    assert result.shape == shape and result.isfinite().all()
    assert (result - sd15.uncured(shape=shape, steps=2)).abs().max() > 1e-3


def test_a_mask_batch_goes_by_picture(sd15):
    """The second picture's mask is empty, so it comes out as without the cure."""
    mask, shape = torch.stack([torch.ones(16, 16), torch.zeros(16, 16)]), (2, 4, 16, 16)
    for mode in MODES:
        plain, cured = sd15.uncured(shape=shape), sd15.sample(sd15.cure(mode=mode, mask=mask), shape=shape)
        torch.testing.assert_close(cured[1], plain[1], atol=2e-4, rtol=0)
        assert (cured[0] - plain[0]).abs().max() > 1e-3


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_cfg_1(case, trajectory):
    plain, cured = case.uncured(cfg=1.0), case.sample(case.cure(trajectory=trajectory, mode="both"), cfg=1.0)
    assert cured.isfinite().all() and (cured - plain).abs().max() > 1e-3


SAMPLERS = ["euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "lcm", "euler_cfg_pp"]


@pytest.mark.parametrize(
    ("trajectory", "name"),
    [*(("shared", name) for name in SAMPLERS), *(("separate", name) for name in ("heun", "uni_pc", "euler_cfg_pp"))],
)
def test_samplers(sd15, name, trajectory):
    cured = sd15.cure(mode="both", trajectory=trajectory, abstract_pass=0.5)
    result = sd15.sample(cured, sampler=name)
    assert result.isfinite().all() and (result - sd15.uncured(sampler=name)).abs().max() > 1e-3


def test_a_trajectory_of_its_own_is_the_plain_models(case):
    """With Euler's sampler the foundation of `separate` walks exactly where the plain model would."""
    seen, original = [], OwnTrajectory.follow

    def spying(self, x, sigmas):
        seen.append(original(self, x, sigmas)[0].clone())
        return seen[-1], None

    OwnTrajectory.follow = spying
    try:
        case.sample(case.cure(trajectory="separate"), steps=4)
    finally:
        OwnTrajectory.follow = original
    plain = []
    sample_with_callback(case.plain, case.conditionings, lambda i, denoised, x, total: plain.append(x.clone()), steps=4)
    for one, other in zip(seen, plain, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_second_order_samplers_pay_no_evaluation_twice(sd15, trajectory):
    count = []
    original = CureHooks.guided
    CureHooks.guided = lambda self, *arguments: count.append(1) or original(self, *arguments)
    try:
        sd15.sample(sd15.cure(trajectory=trajectory), sampler="heun", steps=4)
    finally:
        CureHooks.guided = original
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
            arguments = (2, 4.0, "euler", "simple", *sd15.conditionings, latent)
            changed = comfy.sample.sample(cured, noise, *arguments, denoise=0.6, seed=1)
            plain = comfy.sample.sample(sd15.model, noise, *arguments, denoise=0.6, seed=1)
            painted = comfy.sample.sample(cured, noise, *arguments, denoise=0.6, seed=1, noise_mask=keep)
        assert changed.isfinite().all() and (changed - plain).abs().max() > 1e-3
        torch.testing.assert_close(painted[..., :8], latent[..., :8], atol=1e-5, rtol=0)
        assert (painted[..., 8:] - latent[..., 8:]).abs().max() > 1e-2


@pytest.mark.parametrize("mode", ["noise_blend", "freecure"])
@pytest.mark.parametrize("denoise", [0.7, 0.2])
def test_light_denoising_is_cured_too(sd15, denoise, mode):
    """Img2img and detailers begin where the masks of a whole run would be found already."""
    import comfy.sample

    latent, noise, seen = randn(1, 4, 16, 16, seed=7), randn(1, 4, 16, 16, seed=8), []
    cured = sd15.cure(mode=mode, observe=lambda attributes, masks: seen.append(masks))
    arguments = (5, 4.0, "euler", "simple", *sd15.conditionings, latent)
    with torch.inference_mode():
        results = [comfy.sample.sample(m, noise, *arguments, denoise=denoise, seed=1) for m in (cured, sd15.model)]
    assert seen and seen[0].std() > 0.05
    assert (results[0] - results[1]).abs().max() > 1e-3


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
    assert (case.sample(cured) - case.uncured()).abs().max() > 1e-3


def test_inversion_returns_the_picture(sd15):
    """Up and down with one and the same prompt, unguided, half of 20 steps: over 60 dB, and better with refinement.

    Over the range of the latent, on random weights that denoise tamely.
    """
    psnr = []
    for mode in ("freecure", "noise_blend"):  # plain DDIM inversion, and one refinement
        cured = sd15.cure(prompt="a portrait, laughing", abstract_pass=0.5, mode=mode)
        hooks = cured.get_wrappers("outer_sample", "likeness_cure")[0].__self__
        same = encode(clip("sd15"), PROMPT)
        cured = sd15.model.clone()
        only_the_pass = dataclasses.replace(hooks.plan, template=same, attributes=(), lacking=None)
        type(hooks)(only_the_pass).install(cured)
        before, after = sd15.uncured(cfg=1.0, steps=20), sd15.sample(cured, cfg=1.0, steps=20)
        psnr.append(float(10 * torch.log10((before.max() - before.min()) ** 2 / (before - after).square().mean())))
    assert 60 < psnr[0] < psnr[1], psnr


def test_regional_prompts(sd15):
    """Several positive entries, some with areas or masks of their own: the cure follows the first prompt's words."""
    area = [[prompt(sd15.kind)[0][0], {**sd15.conditionings[0][0][1], "area": (8, 16, 8, 0), "strength": 1.0}]]
    masked = [[prompt(sd15.kind)[0][0], {**sd15.conditionings[0][0][1], "mask": torch.ones(1, 16, 16).tril()}]]
    for positive in (sd15.conditionings[0] + area, sd15.conditionings[0] + masked, area):
        result = sample(sd15.cure(mode="both"), positive, sd15.conditionings[1], steps=2)
        assert result.isfinite().all()
        assert (result - sample(sd15.model, positive, sd15.conditionings[1], steps=2)).abs().max() > 1e-3


def test_prompts_of_different_lengths(sd15):
    """A prompt of two chunks and a negative of one: every chunk is told right all the same."""
    text = "a portrait, " + "very " * 90 + ", curly red hair, laughing"
    positive = apply(
        sd15.plain,
        prompt(sd15.kind, text),
        prompt(sd15.kind, "bad"),
        adapter(sd15.kind),
        kind=sd15.kind,
    )
    assert positive[1][0][0].shape[1] == 154
    plain = sample(*positive, steps=2)
    for mode in MODES:
        cured = sd15.cure(positive[0], prompt=text, mode=mode)
        assert (sample(cured, *positive[1:], steps=2) - plain).abs().max() > 1e-3


def test_batches_taken_apart_by_memory(case, monkeypatch):
    """With little memory ComfyUI runs the foundation's rows before the others; keys and maps are the same."""
    for mode in MODES:
        cured = case.cure(mode=mode)
        together = case.sample(cured, steps=2)
        with monkeypatch.context() as patch:
            patch.setattr("comfy.model_base.BaseModel.memory_required", lambda *arguments, **keywords: 1e30)
            apart = case.sample(cured, steps=2)
        torch.testing.assert_close(apart, together, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("guider", GUIDERS)
def test_guiders(sd15, guider):
    """SamplerCustomAdvanced with every guider that ComfyUI has for such models."""
    result, plain = (custom(sd15, model, guider) for model in (sd15.cure(mode="both", abstract_pass=0.5), sd15.model))
    assert result.isfinite().all() and (result - plain).abs().max() > 1e-3


def test_a_model_wrapper_that_cuts_tiles(sd15, caplog):
    """Half a picture at a time: no attention map is taken for the whole picture's; predictions are whole again."""
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1

    def halves(function, arguments):
        cut = arguments["input"].chunk(2, dim=-1)
        return torch.cat([function(part, arguments["timestep"], **arguments["c"]) for part in cut], dim=-1)

    def tiled(model):
        model = model.clone()
        model.set_model_unet_function_wrapper(halves)
        return sd15.sample(model, steps=2)

    plain = tiled(sd15.model)
    assert (tiled(sd15.cure(mode="both")) - plain).abs().max() > 1e-3
    torch.testing.assert_close(tiled(sd15.cure(mode="freecure")), plain, atol=2e-3, rtol=0)
    assert "found no attention maps, because another node cuts the picture into tiles" in caplog.text
    for mode in ("noise_blend", "freecure"):
        masked = tiled(sd15.cure(prompt="a tree", mask=left, mode=mode))
        assert (masked - plain).abs().max() > 1e-2
