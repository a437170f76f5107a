"""AttributeCure on a tiny FLUX: what it computes, what it costs, whom it gets along with."""

import logging

import pytest
import torch
from cure_cases import MODES, TRAJECTORIES
from flux_cure_cases import BARE, PROMPT, Case, clip, counting, prompt, reference_latent
from likeness.core.cure.modes import GAIN
from tiny import flux as tiny


@pytest.fixture(scope="module")
def case():
    return Case()


def left(size=(12, 16)):
    mask = torch.zeros(1, *size)
    mask[..., : size[1] // 2] = 1
    return mask


def masked(case, **options):
    """A cure of the left half, of whatever the prompt says."""
    return case.cure(prompt="a tree", mask=left(), **options)


# -- what it computes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extras", [{}, reference_latent()], ids=["", "Kontext"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_one_step_is_the_formula(case, cfg, extras):
    """`D_p + cfg * gain * mask * (F(prompt) - U)`; at CFG 1 F of the prompt without its attributes takes U's place.

    F is the plain model's, with the same guidance, pooled text and reference picture.
    """
    seen, prompts = [], (prompt(**extras), prompt("blurry", **extras))
    cured = case.cure(observe=lambda attributes, masks: seen.append(masks))
    picture = case.sample(cured, prompts, steps=1, cfg=cfg)
    plain = case.sample(case.model, prompts, steps=1, cfg=cfg)
    bare = case.sample(case.plain, prompts, steps=1)
    if cfg == 1:
        other = case.sample(case.plain, (prompt(BARE, **extras), prompts[1]), steps=1)
    else:  # of guidance 1 and 2, the unconditional half
        other = 2 * case.sample(case.model, prompts, steps=1) - case.sample(case.model, prompts, steps=1, cfg=2.0)
    [mask] = seen
    assert mask.shape == (1, 1, 12, 16) and 0.05 < mask.std()
    expected = plain + cfg * GAIN * mask * (bare - other)
    torch.testing.assert_close(picture, expected, atol=2e-4, rtol=1e-4)
    assert (picture - plain).abs().max() > 0.1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_every_way_changes_the_picture_and_repeats_itself(case, mode, trajectory):
    results = [case.sample(case.cure(mode=mode, trajectory=trajectory)) for _ in range(2)]
    assert torch.equal(*results)
    assert results[0].isfinite().all() and (results[0] - case.uncured()).abs().max() > 1e-2


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_freecure_replaces_the_velocity(case, trajectory):
    """In the second of two steps, after the first that only looks: `(1 - M) v + M v_plain`, each of its own latent."""
    latents, results = [], {}
    cured = masked(case, mode="freecure", trajectory=trajectory)
    for name, model in {"cured": cured, "own": case.model, "plain": case.plain}.items():
        kept = latents if name == "cured" else []
        results[name] = with_latents(case, model, kept)
    (x0, s0), (x1, s1) = latents
    y1 = x1 if trajectory == "shared" else x0 + (s1 - s0) * velocity(case.plain, case, x0, s0)
    mask = left()[None]
    mixed = (1 - mask) * velocity(case.model, case, x1, s1) + mask * velocity(case.plain, case, y1, s1)
    expected = case.plain.model.process_latent_out(x1 - s1 * mixed)
    torch.testing.assert_close(results["cured"], expected, atol=1e-4, rtol=1e-4)
    assert (results["cured"] - results["own"]).abs().max() > 1e-2


def with_latents(case, model, latents):
    """Two steps; `latents` gets (x, sigma) of each, in the model's own space."""
    import comfy.sample
    from host_cases import randn

    shape, sigmas = (1, tiny.CHANNELS, 12, 16), torch.tensor([1.0, 0.6, 0.0])
    with torch.inference_mode():
        return comfy.sample.sample(
            model, randn(*shape, seed=1), 2, 1.0, "euler", "simple", *case.prompts, torch.zeros(shape), seed=1,
            sigmas=sigmas, callback=lambda step, denoised, x, total: latents.append((x.clone(), sigmas[step])),
            disable_pbar=True,
        )  # fmt: skip


def velocity(model, case, x, sigma):
    """(x - D) / sigma of one prediction at CFG 1."""
    import comfy.sample
    import comfy.samplers

    def predict(wrapped, noise, sigmas, extra_args=None, callback=None, disable=None):
        return wrapped(x, sigmas[:1].expand(len(x)), **extra_args)

    sigmas, sampler = torch.stack([sigma, torch.zeros(())]), comfy.samplers.KSAMPLER(predict)
    with torch.inference_mode():
        arguments = (1.0, sampler, sigmas, *case.prompts, torch.zeros_like(x))
        latent = comfy.sample.sample_custom(model, torch.zeros_like(x), *arguments, disable_pbar=True, seed=0)
    return (x - model.model.process_latent_in(latent)) / sigma


def test_inversion_returns_the_picture(case):
    """Up and down with one prompt, unguided, over half of the steps; the better the finer the steps are."""
    import dataclasses

    from likeness.core.host.conditioning.prompt import encode

    errors = []
    for steps in (4, 8):
        cured = case.cure(prompt="a portrait, laughing", abstract_pass=0.5)
        [hooks] = [one.__self__ for one in cured.get_wrappers("outer_sample", "likeness_cure")]
        plan = dataclasses.replace(hooks.plan, template=encode(clip(), PROMPT), attributes=(), lacking=None)
        only_the_pass = case.model.clone()
        type(hooks)(plan).install(only_the_pass)
        before = case.uncured(steps=steps)
        errors.append(((case.sample(only_the_pass, steps=steps) - before).square().mean() / before.var()) ** 0.5)
    print(errors)
    assert errors[1] < errors[0] / 2 and errors[1] < 0.05


# -- nothing is nothing ----------------------------------------------------------------------------------------------


def test_nothing_is_exactly_nothing(case):
    for nothing in ({"weight": 0.0}, {"start_at": 0.5, "end_at": 0.5}, {"mask": torch.zeros(1, 9, 9)}):
        assert case.cure(**nothing, mode="both", abstract_pass=0.5) is case.model


@pytest.mark.parametrize("mode", ["noise_blend", "both", "freecure"])
def test_outside_its_range_it_is_exactly_not_there(case, mode):
    late = masked(case, mode=mode, start_at=0.5)
    assert torch.equal(case.sample(late, steps=1), case.uncured(steps=1))


def test_outside_its_mask_one_step_is_as_it_was(case):
    plain, cured = case.uncured(steps=1), case.sample(masked(case), steps=1)
    torch.testing.assert_close(cured[..., 8:], plain[..., 8:], atol=2e-5, rtol=0)
    assert (cured[..., :8] - plain[..., :8]).abs().max() > 1e-2


def test_upstream_is_untouched(case):
    before, options = case.uncured(steps=1), case.model.model_options["transformer_options"]
    patches = {key: (patch.shares, patch.reads) for key, patch in options["patches_replace"]["dit"].items()}
    for mode in ("both", "freecure"):
        case.sample(case.cure(mode=mode, abstract_pass=0.5), steps=1)
    assert {key: (patch.shares, patch.reads) for key, patch in options["patches_replace"]["dit"].items()} == patches
    assert len(patches) == 20 and "optimized_attention_override" not in options
    assert torch.equal(case.sample(case.model, steps=1), before)


# -- what it costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, cfg, expected",
    [
        # personalised, twin, and the prompt without its attributes: the response of two serves in the step after
        ({}, 1.0, [3, 1, 3, 1, 3, 1]),
        ({"mode": "both"}, 1.0, [3, 2, 3, 2, 3, 2]),  # the twin gives its keys in each step
        ({"mode": "shared_attention"}, 1.0, [3, 2, 3, 2, 2, 2]),
        ({"end_at": 0.5}, 1.0, [3, 1, 3, 1, 1, 1]),
        # personalised, unconditional, twin; the fourth finds the attributes
        ({}, 4.0, [4, 3, 4, 3, 3, 3]),
    ],
    ids=str,
)
def test_rows_of_the_batch_in_each_step(case, options, cfg, expected):
    model, rows = counting(case.cure(**options))
    case.sample(model, steps=6, cfg=cfg, scheduler="normal")
    assert rows == expected


def test_four_steps_of_schnell():
    case = Case("schnell")
    model, rows = counting(case.cure())
    result = case.sample(model, steps=4)
    assert rows == [3, 1, 3, 1] and result.isfinite().all()
    assert (result - case.uncured(steps=4)).abs().max() > 1e-2


@pytest.mark.parametrize("mode", ["both", "freecure"])
def test_chroma_has_prompts_of_all_lengths(mode, caplog):
    case = Case("chroma", clip(1, "chroma"))
    assert len({len(prompt(text, case.clip)[0][0][0]) for text in (PROMPT, BARE, "blurry")}) == 3
    with caplog.at_level(logging.WARNING):
        result = case.sample(case.cure(mode=mode), cfg=4.0)
    assert result.isfinite().all() and (result - case.uncured(cfg=4.0)).abs().max() > 1e-2
    assert "shared no keys" not in caplog.text and "no attention maps" not in caplog.text


# -- whom it gets along with -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_batches_odd_sizes_and_reference_pictures(case, trajectory):
    masks = torch.stack([torch.ones(20, 30), torch.zeros(20, 30)])
    prompts = prompt(**reference_latent()), prompt("blurry", **reference_latent())
    cured = case.cure(mode="both", trajectory=trajectory, mask=masks)
    result, plain = (case.sample(one, prompts, size=(7, 9), batch=2) for one in (cured, case.model))
    assert result.isfinite().all() and (result[0] - plain[0]).abs().max() > 1e-2
    torch.testing.assert_close(result[1], plain[1], atol=2e-3, rtol=0)


def test_the_order_of_nodes_does_not_matter(case):
    for mode in ("both", "freecure"):
        late = case.identity(case.cure(case.plain, mode=mode))
        torch.testing.assert_close(case.sample(late), case.sample(case.cure(mode=mode)), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("trajectory", TRAJECTORIES)
def test_a_foundation_model_gives_what_switching_the_identity_off_gives(case, trajectory):
    own = case.sample(case.cure(mode="both", trajectory=trajectory))
    given = case.sample(case.cure(mode="both", trajectory=trajectory, foundation=case.plain))
    torch.testing.assert_close(given, own, atol=1e-2, rtol=1e-3)


def test_batches_taken_apart_by_memory(case, monkeypatch):
    together = case.sample(case.cure(mode="both"))
    monkeypatch.setattr("comfy.model_base.BaseModel.memory_required", lambda *arguments, **keywords: 1e30)
    torch.testing.assert_close(case.sample(case.cure(mode="both")), together, atol=1e-2, rtol=1e-3)


def test_an_expression_is_redrawn(case):
    cured = case.cure(prompt="a portrait, laughing", abstract_pass=0.5)
    assert (case.sample(cured) - case.sample(case.cure(prompt="a portrait, laughing"))).abs().max() > 1e-2


def test_a_node_that_takes_the_attention_is_named(case, caplog):
    taken = masked(case, mode="shared_attention")
    taken.model_options["transformer_options"]["optimized_attention_override"] = lambda func, *args, **more: func(
        *args, **more
    )
    with caplog.at_level(logging.WARNING):
        case.sample(taken, steps=1)
    assert "16 of 16 self-attention layers never shared their keys" in caplog.text


def test_freecure_does_not_know_flux_2s_words():
    from likeness.core.host.foundation import model_kind

    model = tiny.flux()
    model.model.diffusion_model.params.global_modulation = True
    with pytest.raises(ValueError, match="does not know where the words of a prompt are in FLUX.2"):
        model_kind(model).read_maps(model.clone())
