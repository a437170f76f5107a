"""The attention patch on ComfyUI's own U-Nets: what it reaches, what it leaves alone, and whom it gets along with."""

import copy
import logging

import pytest
import torch
from host_cases import SITES, adapter, apply, attn2, conditioning, identity, peer_patch, randn, sample
from likeness.core.adapters import WEIGHT_TYPES


@pytest.fixture(scope="module")
def models():
    from tiny.unet import unet

    return {kind: unet(kind) for kind in SITES}


@pytest.fixture(scope="module")
def adapters():
    return {kind: adapter(kind) for kind in SITES}


@pytest.fixture
def prompt(kind):
    return conditioning(kind, seed=10), conditioning(kind, seed=20)


def weights_of(model):
    return {key: value.clone() for key, value in model.model.state_dict().items()}


def count_fired(model):
    """Sample two steps and count, per site, the calls of the patch."""
    fired = {}
    for key, patch in attn2(model).items():
        original = patch.injections

        class Counting:
            def __init__(self, injection, key):
                self.injection, self.key, self.patcher = injection, key, injection.patcher
                self.router = injection.router

            def residual(self, *arguments):
                result = self.injection.residual(*arguments)
                fired[self.key] = fired.get(self.key, 0) + (result is not None)
                return result

        patch.injections = tuple((Counting(injection, key), index) for injection, index in original)
    return fired


@pytest.mark.parametrize("kind", SITES)
def test_every_site_fires(models, adapters, kind, prompt):
    patched, positive, negative = apply(models[kind], *prompt, adapters[kind])
    fired = count_fired(patched)
    sample(patched, positive, negative, steps=2)
    assert len(fired) == SITES[kind]
    assert set(fired.values()) == {2}  # two steps, conditional and unconditional in one batch
    assert sum(key[:2] == ("middle", 0) for key in fired) == {"sd15": 1, "sdxl": 10}[kind]


@pytest.mark.parametrize("kind", SITES)
def test_the_identity_changes_the_picture(models, adapters, kind, prompt):
    plain = sample(models[kind], *prompt)
    one = sample(*apply(models[kind], *prompt, adapters[kind], identity(1)))
    other = sample(*apply(models[kind], *prompt, adapters[kind], identity(2)))
    assert (one - plain).abs().max() > 1e-2
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    "nothing",
    [
        {"weight": 0.0},
        {"start_at": 0.5, "end_at": 0.5},
        {"start_at": 0.8, "end_at": 0.2},
        {"mask": torch.zeros(1, 128, 128)},
    ],
    ids=["weight 0", "empty range", "reversed range", "mask 0"],
)
def test_nothing_is_exactly_nothing(models, adapters, kind, prompt, nothing):
    applied = apply(models[kind], *prompt, adapters[kind], **nothing)
    assert applied[0] is models[kind] and applied[1] is prompt[0] and applied[2] is prompt[1]
    assert torch.equal(sample(*applied), sample(models[kind], *prompt))


def test_a_mask_of_ones_is_exactly_no_mask(models, adapters, kind, prompt):
    without = sample(*apply(models[kind], *prompt, adapters[kind]))
    assert torch.equal(sample(*apply(models[kind], *prompt, adapters[kind], mask=torch.ones(2, 60, 70))), without)


def test_outside_its_range_the_patch_is_exactly_not_there(models, adapters, kind, prompt):
    """One step at the highest noise level, with an adapter that only works later."""
    late = apply(models[kind], *prompt, adapters[kind], start_at=0.5)
    fired = count_fired(late[0])
    assert torch.equal(sample(*late, steps=1), sample(models[kind], *prompt, steps=1))
    assert set(fired.values()) == {0}


def test_a_range_covers_its_share_of_the_steps(models, adapters, kind, prompt):
    patched, positive, negative = apply(models[kind], *prompt, adapters[kind], start_at=0.25, end_at=0.75)
    fired = count_fired(patched)
    sample(patched, positive, negative, steps=4)
    assert set(fired.values()) == {2}


def test_a_mask_limits_where_the_residual_is(models, adapters, kind, prompt):
    """At one site: nothing outside the mask, the whole residual inside it."""
    mask = torch.zeros(1, 256, 256)
    mask[:, :, :128] = 1
    masked, *_ = apply(models[kind], *prompt, adapters[kind], mask=mask)
    unmasked, *_ = apply(models[kind], *prompt, adapters[kind])
    key = ("input", 7, 0)
    q, k, v = randn(2, 64, 128, seed=1), randn(2, 77, 128, seed=2), randn(2, 77, 128, seed=3)
    options = {"n_heads": 4, "cond_or_uncond": [1, 0], "activations_shape": [2, 128, 8, 8], "sigmas": torch.ones(2)}
    from comfy.ldm.modules.attention import optimized_attention

    base = optimized_attention(q, k, v, 4)
    inside, everywhere = (attn2(model)[key](q, k, v, options).view(2, 8, 8, 128) for model in (masked, unmasked))
    base = base.view(2, 8, 8, 128)
    assert torch.equal(inside[:, :, 4:], base[:, :, 4:])
    torch.testing.assert_close(inside[:, :, :4], everywhere[:, :, :4], atol=1e-6, rtol=0)
    assert (everywhere - base).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize("kind", SITES)
@pytest.mark.parametrize(("shape", "masks"), [((1, 4, 17, 25), 2), ((3, 4, 16, 16), 1), ((2, 4, 8, 20), 5)])
def test_odd_sizes_and_mask_batches(models, adapters, kind, prompt, shape, masks):
    mask = (randn(masks, 99, 61, seed=3) > 0).float()
    result = sample(*apply(models[kind], *prompt, adapters[kind], mask=mask), shape=shape, steps=1)
    assert result.shape == shape and result.isfinite().all()


def test_mask_batch_goes_by_picture(models, adapters, kind, prompt):
    """The second picture of a batch has an empty mask, so it comes out as without identity."""
    mask = torch.stack([torch.ones(32, 32), torch.zeros(32, 32)])
    shape = (2, 4, 16, 16)
    plain = sample(models[kind], *prompt, shape=shape)
    masked = sample(*apply(models[kind], *prompt, adapters[kind], mask=mask), shape=shape)
    unmasked = sample(*apply(models[kind], *prompt, adapters[kind]), shape=shape)
    torch.testing.assert_close(masked[1], plain[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(masked[0], unmasked[0], atol=1e-5, rtol=0)


def test_cfg_1_runs_the_conditional_half_alone(models, adapters, kind, prompt):
    with_identity = sample(*apply(models[kind], *prompt, adapters[kind]), cfg=1.0, steps=4)
    assert (with_identity - sample(models[kind], *prompt, cfg=1.0, steps=4)).abs().max() > 1e-2


def test_halves_apart_equal_halves_together(models, adapters, kind, prompt):
    """Prompts of different lengths can't share a batch; the identity must land on the right half all the same."""
    positive, negative = prompt[0], conditioning(kind, seed=20, length=77)
    together = sample(*apply(models[kind], positive, negative, adapters[kind]))

    def one_by_one(model_function, arguments):
        parts = []
        for row, which in enumerate(arguments["cond_or_uncond"]):
            c = {
                k: v[row : row + 1] if torch.is_tensor(v) else v
                for k, v in arguments["c"].items()
                if k != "transformer_options"
            }
            c["transformer_options"] = {**arguments["c"]["transformer_options"], "cond_or_uncond": [which]}
            parts.append(model_function(arguments["input"][row : row + 1], arguments["timestep"][row : row + 1], **c))
        return torch.cat(parts)

    patched, positive, negative = apply(models[kind], positive, negative, adapters[kind])
    patched = patched.clone()
    patched.set_model_unet_function_wrapper(lambda function, arguments: one_by_one(function, arguments))
    torch.testing.assert_close(sample(patched, positive, negative), together, atol=1e-3, rtol=1e-3)


def test_upstream_is_untouched_and_reruns_are_identical(models, adapters, kind, prompt):
    model = models[kind]
    before = weights_of(model)
    options, positive = copy.deepcopy(model.model_options), prompt[0][0][1].copy()
    first = None
    for _ in range(4):
        patched, *conditionings = apply(model, *prompt, adapters[kind], identity(4))
        assert [len(patch.injections) for patch in attn2(patched).values()] == [1] * SITES[kind]
        assert len(patched.get_additional_models()) == 0 and len(set(patched.model_patches_models())) == 1
        result = sample(patched, *conditionings)
        first = result if first is None else first
        assert torch.equal(result, first)
    assert model.model_options == options and not model.wrappers.get("outer_sample") and prompt[0][0][1] == positive
    assert all(torch.equal(value, before[key]) for key, value in weights_of(model).items())


def test_a_model_sampled_twice_gives_the_same_pixels(models, adapters, kind, prompt):
    applied = apply(models[kind], *prompt, adapters[kind])
    assert torch.equal(sample(*applied), sample(*applied))


def test_clones_share_weights_and_nothing_that_changes(models, adapters, kind, prompt):
    patched, *_ = apply(models[kind], *prompt, adapters[kind])
    clone = patched.clone()
    for key, patch in attn2(patched).items():
        twin = attn2(clone)[key]
        assert twin is not patch and twin.strangers is not patch.strangers
        assert twin.injections[0][0].patcher.model is patch.injections[0][0].patcher.model
    assert copy.deepcopy(patched.model_options)["transformer_options"] is not None


def test_order_of_two_people_does_not_matter(models, adapters, kind, prompt):
    left, right = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    left[..., :32], right[..., 32:] = 1, 1
    anna, bert = identity(5), identity(6)
    one = apply(*apply(models[kind], *prompt, adapters[kind], anna, left), adapters[kind], bert, right)
    two = apply(*apply(models[kind], *prompt, adapters[kind], bert, right), adapters[kind], anna, left)
    torch.testing.assert_close(sample(*one), sample(*two), atol=1e-4, rtol=1e-4)
    alone = apply(models[kind], *prompt, adapters[kind], anna, left)
    assert (sample(*one) - sample(*alone)).abs().max() > 1e-3
    assert one[1][0][1]["cross_attn_controlnet"].shape[1] == 32


def mean_shift(out, q, k, v, extra_options, amount=0.5, **_):
    return torch.full_like(out, amount)


def test_a_stranger_before_us_keeps_working(models, adapters):
    prompt = conditioning(seed=10), conditioning(seed=20)
    foreign = peer_patch(models["sdxl"], mean_shift)
    both = sample(*apply(foreign, *prompt, adapters["sdxl"]))
    only_foreign = sample(foreign, *prompt)
    only_ours = sample(*apply(models["sdxl"], *prompt, adapters["sdxl"]))
    assert (both - only_foreign).abs().max() > 1e-3 and (both - only_ours).abs().max() > 1e-3


def test_a_stranger_after_us_joins_and_upstream_never_hears_of_it(models, adapters):
    prompt = conditioning(seed=10), conditioning(seed=20)
    ours, *conditionings = apply(models["sdxl"], *prompt, adapters["sdxl"])
    alone = sample(ours, *conditionings)
    for _ in range(3):
        joined = peer_patch(ours, mean_shift)
        assert all(len(patch.strangers) == 1 for patch in attn2(joined).values())
    assert all(not patch.strangers for patch in attn2(ours).values())
    after = sample(joined, *conditionings)
    before = sample(*apply(peer_patch(models["sdxl"], mean_shift), *prompt, adapters["sdxl"]))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)  # the same sum, whoever came first
    assert torch.equal(sample(ours, *conditionings), alone)


def test_clones_of_newer_comfyui_are_unshared_too(models, adapters):
    """From 0.13 on, clone() copies dictionaries and lists only; our callback has to part the patch objects."""
    prompt = conditioning(seed=10), conditioning(seed=20)
    ours, *_ = apply(models["sdxl"], *prompt, adapters["sdxl"])
    clone = ours.clone()
    attn2(clone).update(attn2(ours))  # as a clone by dictionary copy would have it
    for callback in clone.get_all_callbacks("on_clone"):
        callback(ours, clone)
    assert all(attn2(clone)[key] is not patch for key, patch in attn2(ours).items())


def test_losing_sites_to_a_later_node_is_said_aloud(models, adapters, caplog):
    prompt = conditioning(seed=10), conditioning(seed=20)
    ours, *conditionings = apply(models["sdxl"], *prompt, adapters["sdxl"])
    robbed = ours.clone()
    robbed.set_model_attn2_replace(lambda q, k, v, options: q, "middle", 0, 3)
    with caplog.at_level(logging.WARNING):
        sample(robbed, *conditionings)
    assert "1 of 70 attention layers" in caplog.text and "after ApplyIDAdapter" in caplog.text


@pytest.mark.parametrize("kind", SITES)
def test_weight_types_shape_the_blocks(models, adapters, kind, prompt):
    linear = sample(*apply(models[kind], *prompt, adapters[kind]), steps=1)
    for weight_type in WEIGHT_TYPES[1:]:
        result = sample(*apply(models[kind], *prompt, adapters[kind], weight_type=weight_type), steps=1)
        assert result.isfinite().all() and not torch.equal(result, linear)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn], ids=str)
def test_half_precision_and_fp8_stored_adapters(models, adapters, kind, prompt, dtype):
    """The adapter's storage may be of any precision; the picture stays close to the one in fp32."""
    full = sample(*apply(models[kind], *prompt, adapters[kind]))
    plain = sample(models[kind], *prompt)
    low = sample(*apply(models[kind], *prompt, adapter(kind, dtype=dtype)))
    assert low.isfinite().all() and low.dtype == full.dtype
    assert (low - full).abs().mean() < 0.5 * (plain - full).abs().mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_models(adapters, kind, prompt, dtype):
    from tiny.unet import unet

    model = unet(kind, dtype=dtype)
    patched, *conditionings = apply(model, *prompt, adapters[kind])
    bank = next(iter(attn2(patched).values())).injections[0][0].patcher.model
    assert {parameter.dtype for parameter in bank.parameters()} == {dtype}
    assert sample(patched, *conditionings, steps=1).isfinite().all()


def test_models_stored_in_fp8(adapters, kind, prompt):
    """Weights in fp8, computed in fp32: the bank is in the precision of the computing."""
    from tiny.unet import unet

    model = unet(kind, dtype=torch.float8_e4m3fn, compute=torch.float32)
    patched, *conditionings = apply(model, *prompt, adapters[kind])
    bank = next(iter(attn2(patched).values())).injections[0][0].patcher.model
    assert {parameter.dtype for parameter in bank.parameters()} == {torch.float32}
    change = (sample(patched, *conditionings, steps=1) - sample(model, *prompt, steps=1)).abs().max()
    assert change.isfinite() and change > 1e-3


@pytest.mark.parametrize("guider, expected", [("dual", [1, 1, 0]), ("perp", [0, 1, 1])])
def test_guiders_of_three_prompts(models, adapters, guider, expected):
    """ComfyUI numbers a guider's lists in an order of the guider's own; the identity is the positive one's."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Guider_DualCFG
    from comfy_extras.nodes_perpneg import Guider_PerpNeg

    third = conditioning("sd15", seed=30)
    prompts = conditioning("sd15", seed=10), conditioning("sd15", seed=20)
    applied = apply(models["sd15"], *prompts, adapters["sd15"])
    if guider == "dual":
        made = Guider_DualCFG(applied[0])
        made.set_conds(applied[1], third, applied[2])
    else:
        made = Guider_PerpNeg(applied[0])
        made.set_conds(*applied[1:], third)
    made.set_cfg(4.0, 2.0)
    seen, key = set(), "likeness_rows"

    def spying(hidden, context, value, options):
        seen.update(zip(options["cond_or_uncond"], options[key].kinds, strict=True))
        return hidden, context, value

    made.model_patcher.set_model_attn2_patch(spying)
    with torch.inference_mode():
        noise, sampler = randn(1, 4, 16, 16, seed=1), comfy.samplers.sampler_object("euler")
        result = made.sample(noise, torch.zeros_like(noise), sampler, torch.tensor([5.0, 1.0, 0.0]), seed=1)
    assert result.isfinite().all() and seen == set(enumerate(expected))


def test_global_random_state_is_untouched(models, adapters, kind, prompt):
    before = torch.random.get_rng_state()
    apply(models[kind], *prompt, adapters[kind])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_memory_returns_to_the_baseline(models, adapters, kind, prompt):
    import gc

    import comfy.model_management as mm

    mm.unload_all_models()
    gc.collect()
    loaded = len(mm.current_loaded_models)
    tensors = sum(torch.is_tensor(thing) for thing in gc.get_objects())
    for _ in range(3):
        sample(*apply(models[kind], *prompt, adapters[kind]))
        mm.unload_all_models()
        mm.cleanup_models_gc()
        gc.collect()
    assert len(mm.current_loaded_models) == loaded
    assert sum(torch.is_tensor(thing) for thing in gc.get_objects()) <= tensors + 5
