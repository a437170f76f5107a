"""The pack in compositions with ComfyUI's own nodes and with wrappers like other packs', each against what it has to
equal. benchmarks/compositions.py tries many more, other packs' own code too."""

import logging

import host_cases
import pytest
import torch
from cure_cases import Case
from host_cases import adapter, apply, conditioning, randn, sample
from likeness.core.host.adapters.adapter import Settings

TILE, STEP = 10, 6  # of a latent that is 16 wide: the second tile begins at cell 6
# Latents reach 20 and more; rows that are computed in other batches are rounded otherwise, by a few units of the last
# place, which differ from one processor to the next.
CLOSE = {"atol": 2e-4, "rtol": 5e-5}


@pytest.fixture(scope="module")
def case():
    from tiny.unet import unet

    return Case("sd15", unet("sd15"), adapter("sd15"))


@pytest.fixture
def mixed(case):
    return feature(case, "mixed")


def left_half(pictures=1):
    mask = torch.zeros(pictures, 128, 128)
    mask[..., :64] = 1
    return mask


class Tiles:
    """A model function wrapper that shows the model tiles, `batch` at a time, each for the whole batch of prompts."""

    def __init__(self, batch):
        self.batch = batch

    def __call__(self, apply_model, arguments):
        x, c = arguments["input"], arguments["c"]
        total, weight = torch.zeros_like(x), torch.zeros_like(x)
        starts = (0, STEP)
        for at in range(0, len(starts), self.batch):
            parts = starts[at : at + self.batch]

            def cut(value, parts=parts):
                if not isinstance(value, torch.Tensor):
                    return value
                if value is x:
                    return torch.cat([value[..., start : start + TILE] for start in parts])
                assert value.ndim != x.ndim  # TiledDiffusion can't cut what else is of a picture's form
                return torch.cat([value] * len(parts))

            kept = {key: cut(value) for key, value in c.items()}
            out = apply_model(cut(x), cut(arguments["timestep"]), **kept)
            for start, part in zip(parts, out.split(len(x)), strict=True):
                total[..., start : start + TILE] += part
                weight[..., start : start + TILE] += 1
        return total / weight


def tiled(model, batch):
    model = model.clone()
    model.set_model_unet_function_wrapper(Tiles(batch))
    return model


def feature(case, name):
    """Something that this pack puts on a model, by NAMES: (model, positive, negative)."""
    if name == "identity":
        return case.model, *case.conditionings
    if name == "separate":
        return case.cure(trajectory="separate"), *case.conditionings
    if name.startswith("cure "):
        return case.cure(mode=name.removeprefix("cure ")), *case.conditionings
    options = Settings(mixed_attention=name == "mixed")
    mask = left_half() if name == "masked" else None
    return apply(case.plain, *case.prompts, case.adapter, kind="sd15", mask=mask, options=options)


NAMES = ["masked", "mixed", "separate", "cure noise_blend", "cure shared_attention"]


@pytest.mark.parametrize("name", NAMES)
def test_tiles_in_one_batch_are_what_they_are_one_by_one(case, name):
    model, *prompts = feature(case, name)
    one = sample(tiled(model, 1), *prompts)
    torch.testing.assert_close(sample(tiled(model, 2), *prompts), one, **CLOSE)
    assert (one - sample(tiled(case.plain, 1), *case.prompts)).abs().max() > 1e-2


def test_a_mask_knows_where_a_tile_lies(case):
    """Cells that only the right tile shows are those of the plain model while the mask is white on the left of it."""
    mask = torch.zeros(1, 128, 128)
    mask[..., : 8 * STEP] = 1
    masked = apply(case.plain, *case.prompts, case.adapter, kind="sd15", mask=mask)
    got, plain = sample(tiled(masked[0], 2), *masked[1:], steps=1), sample(tiled(case.plain, 2), *case.prompts, steps=1)
    torch.testing.assert_close(got[..., TILE:], plain[..., TILE:], **CLOSE)
    assert (got - plain)[..., :STEP].abs().max() > 1e-2


@pytest.mark.parametrize("name", ["identity", "mixed", "cure shared_attention"])
def test_area_prompts_leave_the_unconditional_rows_alone(case, name):
    """ComfyUI makes the negative list an entry for that area, which says the negative prompt."""
    import nodes

    area = nodes.ConditioningSetArea().append
    model, positive, negative = feature(case, name)
    here = area(positive, 64, 128, 0, 0, 1.0)[0]
    got = sample(model, here, negative)
    both = [*negative, *area(negative, 64, 128, 0, 0, 1.0)[0]]
    torch.testing.assert_close(got, sample(model, here, both), **CLOSE)


def test_a_mask_and_an_area_prompt(case):
    """A person in the left half, and a prompt for the right half alone."""
    import nodes

    def right(prompt):
        return nodes.ConditioningSetArea().append(prompt, 64, 128, 64, 0, 1.0)[0]

    model, *prompts = apply(case.plain, *case.prompts, case.adapter, kind="sd15", mask=left_half())
    got = sample(model, *map(right, prompts), steps=1)
    assert torch.equal(got, sample(case.plain, *map(right, case.prompts), steps=1))


def windows(model, length=3):
    from comfy_extras.nodes_context_windows import ContextWindowsManualNode as Node

    given = {one.id: one.default for one in Node.define_schema().inputs if hasattr(one, "default")}  # newer have more
    given |= {"context_length": length, "context_overlap": 1, "context_schedule": "standard_static"}
    return Node.execute(**{**given, "model": model, "fuse_method": "flat", "dim": 0}).args[0]


@pytest.mark.parametrize("name", NAMES)
def test_context_windows_have_the_masks_and_keys_of_their_own_pictures(case, name):
    """The pictures of a batch have nothing to do with each other in these models, so windows change nothing."""
    model, *prompts = feature(case, name)
    if name == "masked":
        frames = torch.cat([left_half(), 1 - left_half(), torch.ones(1, 128, 128), torch.zeros(1, 128, 128)])
        model, *prompts = apply(case.plain, *case.prompts, case.adapter, kind="sd15", mask=frames)
    shape = (4, 4, 16, 16)
    steps = 3  # ComfyUI's windows compare the noise levels of all pictures with those of all steps: four with four
    got = sample(windows(model), *prompts, shape=shape, steps=steps)
    torch.testing.assert_close(got, sample(model, *prompts, shape=shape, steps=steps), **CLOSE)


@pytest.mark.parametrize(
    ("name", "which"),
    [("mixed", "cond"), ("mixed", "uncond"), ("separate", "cond"), ("cure noise_blend", "uncond"),
     ("cure shared_attention", "cond"), ("cure freecure", "uncond")],
)  # fmt: skip
def test_one_more_evaluation_within_a_step_changes_nothing(case, name, which):
    """What PAG, SAG, SEG, SLG and their kin do, at scale 0."""
    import comfy.samplers

    def once_more(args):
        lists = [args[which]]
        comfy.samplers.calc_cond_batch(args["model"], lists, args["input"], args["sigma"], args["model_options"])
        return args["denoised"]

    model, *prompts = feature(case, name)
    more = model.clone()
    more.set_model_sampler_post_cfg_function(once_more)
    assert torch.equal(sample(more, *prompts, steps=3), sample(model, *prompts, steps=3))


def test_perp_neg_as_a_node_has_nobody_in_its_empty_prompt(case):
    from comfy_extras.nodes_perpneg import PerpNeg
    from cure_cases import custom

    empty = conditioning("sd15", seed=4)
    got = sample(PerpNeg.execute(case.model, empty, 1.0).args[0], *case.conditionings, steps=3, scheduler="normal")
    torch.testing.assert_close(got, custom(case, case.model, "perp"), **CLOSE)


@pytest.mark.parametrize("part", [(0.0, 0.5), (0.3, 1.0)])
def test_ranges_go_by_the_schedule_of_the_run(case, part):
    """A node behind ours that changes the schedule, as before ours."""
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

    def edm(model):
        return ModelSamplingContinuousEDM().patch(model, "v_prediction", 120.0, 0.002)[0]

    span = dict(zip(("start_at", "end_at"), part, strict=True))
    after, *prompts = apply(case.plain, *case.prompts, case.adapter, kind="sd15", **span)
    before, *_ = apply(edm(case.plain), *case.prompts, case.adapter, kind="sd15", **span)
    got = sample(edm(after), *prompts, steps=4, scheduler="normal")
    assert torch.equal(got, sample(before, *prompts, steps=4, scheduler="normal"))
    cured = case.cure(after, **span), case.cure(before, **span)
    cured = edm(cured[0]), cured[1]
    assert torch.equal(*(sample(one, *prompts, steps=3, scheduler="normal") for one in cured))


def test_lost_self_attention_is_said(mixed, caplog):
    """SAG takes the middle block's self-attention."""
    from comfy_extras.nodes_sag import SelfAttentionGuidance

    model, *prompts = mixed
    with caplog.at_level(logging.WARNING):
        sample(SelfAttentionGuidance.execute(model, 0.0, 2.0).args[0], *prompts)
    assert "1 of 16 self-attention layers never shared their keys" in caplog.text
    caplog.clear()
    sample(model, *prompts)
    assert "self-attention" not in caplog.text


def test_shared_attention_says_where_a_run_has_too_few_steps(case, caplog):
    cured = case.cure(mode="shared_attention")
    with caplog.at_level(logging.WARNING):
        case.sample(cured, steps=2)
        assert "shared no keys" not in caplog.text
        case.sample(cured, steps=1)
    assert "shared_attention shared no keys" in caplog.text


def test_the_cure_says_where_its_prompts_all_predict_the_same(case, caplog):
    """As beside an attention couple, which puts its own prompts in place of ours."""
    cured = case.cure()
    own = host_cases.randn(1, 77, 48, seed=5)
    cured.set_model_attn2_patch(lambda n, context, value, options: (n, own.expand_as(context), own.expand_as(context)))
    with caplog.at_level(logging.WARNING):
        case.sample(cured)
    assert "found nowhere to work" in caplog.text


def test_easy_cache_leaves_out_forwards_under_the_cure_too(case):
    from comfy_extras.nodes_easycache import EasyCacheNode

    counts = []
    for model in (case.model, case.cure(), case.cure(start_at=0.3, end_at=0.7)):
        cached = EasyCacheNode.execute(model, 0.5, 0.15, 0.95, False).args[0]
        seen = []

        def count(executor, *args, seen=seen, **kwargs):
            seen.append(1)
            return executor(*args, **kwargs)

        cached.add_wrapper_with_key("diffusion_model", "a count behind the cache", count)
        case.sample(cached, steps=8)
        counts.append(len(seen))
    assert counts[0] < 8 and counts[1] < 8 and counts[2] < 8


@pytest.mark.parametrize("name", ["identity", "cure noise_blend", "mixed"])
def test_a_batch_is_what_its_pictures_are_alone(case, name):
    model, *prompts = feature(case, name)
    import comfy.sample

    noise = randn(2, 4, 16, 16, seed=1)

    def run(part):
        with torch.inference_mode():
            latent = torch.zeros_like(part)
            return comfy.sample.sample(model, part, 2, 4.0, "euler", "simple", *prompts, latent, seed=1)

    torch.testing.assert_close(run(noise), torch.cat([run(noise[:1]), run(noise[1:])]), **CLOSE)


def test_packs_that_take_whole_blocks_may_stand_on_either_side(case):
    blocks = {key[:2] for key in host_cases.attn2(case.model)}

    def theirs(model):
        model = model.clone()
        patch = host_cases.PeerReplace(lambda out, *_, **__: 0.1 * out)
        for block in blocks:
            model.set_model_attn2_replace(patch, *block)
        return model

    first = apply(theirs(case.plain), *case.prompts, case.adapter, kind="sd15")[0]
    behind = theirs(case.model)
    got = case.sample(behind)
    torch.testing.assert_close(got, case.sample(first), **CLOSE)
    assert (got - case.uncured()).abs().max() > 1e-2 and (got - case.sample(theirs(case.plain))).abs().max() > 1e-2
    assert {key for key in host_cases.attn2(behind) if len(key) == 3} == set(host_cases.attn2(case.model))


@pytest.mark.parametrize("name", ["masked", "mixed", "cure noise_blend", "cure shared_attention"])
def test_windows_of_the_picture_that_a_node_evaluates_once_more(case, name):
    """What Sliding Window Guidance does: a part of the latent, in a second evaluation, at scale 0; and its mask."""
    import comfy.samplers

    def once_more(args):
        part = args["input"][..., 4:14]
        lists, options = [args["cond"], args["uncond"]], args["model_options"]
        seen.append(comfy.samplers.calc_cond_batch(args["model"], lists, part, args["sigma"], options)[0])
        return args["denoised"]

    model, *prompts = feature(case, name)
    more, seen = model.clone(), []
    more.set_model_sampler_post_cfg_function(once_more)
    assert torch.equal(sample(more, *prompts, steps=2), sample(model, *prompts, steps=2))
    assert all(part.shape[-1] == 10 and part.isfinite().all() for part in seen)


def test_a_mask_knows_which_window_of_the_picture_is_evaluated(case):
    """A person on the left is in no window of the right half."""
    import comfy.samplers

    def window(model, prompts):
        def once_more(args):
            part, lists = args["input"][..., 8:], [args["cond"]]
            options = args["model_options"]
            seen.append(comfy.samplers.calc_cond_batch(args["model"], lists, part, args["sigma"], options)[0])
            return args["denoised"]

        more, seen = model.clone(), []
        more.set_model_sampler_post_cfg_function(once_more)
        sample(more, *prompts, steps=1)
        return seen[0]

    masked, *prompts = feature(case, "masked")
    plain = window(case.plain, case.prompts)
    assert torch.equal(window(masked, prompts), plain)
    assert (window(case.model, case.conditionings) - plain).abs().max() > 1e-2


def test_another_packs_patch_around_ours_hides_no_identity(case, caplog):
    """What Normalized Attention Guidance does: it calls the patch that it found."""
    around = case.cure()
    for key, patch in list(host_cases.attn2(case.model).items()):
        around.set_model_attn2_replace(lambda q, k, v, options, patch=patch: patch(q, k, v, options), *key)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(case.sample(around), case.sample(case.cure()))
    assert "nothing to do" not in caplog.text


def test_the_batch_begins_with_the_unconditional_rows(case):
    """As in any CFG: nodes count on that."""
    seen = []

    def look(executor, x, timestep, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **rest):
        seen.append(transformer_options["cond_or_uncond"])
        return executor(x, timestep, c_concat, c_crossattn, control, transformer_options, **rest)

    for mode in ("noise_blend", "shared_attention"):
        cured = case.cure(mode=mode)
        cured.add_wrapper_with_key("apply_model", "a look behind ours", look)
        case.sample(cured)
    assert all(numbers == sorted(numbers, reverse=True) and set(numbers) == {0, 1} for numbers in seen)


def test_merged_tokens_are_said(mixed, caplog):
    from comfy_extras.nodes_tomesd import TomePatchModel

    model, *prompts = mixed
    with caplog.at_level(logging.WARNING):
        sample(TomePatchModel.execute(model, 0.5).args[0], *prompts)
    assert "some layers share no keys" in caplog.text


@pytest.mark.parametrize("name", ["cure noise_blend", "separate", "mixed"])
def test_a_guider_that_asks_for_its_lists_one_after_the_other(case, name):
    """The conditional prediction first, with no other list or with an empty one behind; CFG as ever."""
    import comfy.samplers

    class OneByOne(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 (ComfyUI's own)
            def predict(*lists):
                return comfy.samplers.calc_cond_batch(self.inner_model, list(lists), x, timestep, model_options)[0]

            positive, negative = predict(self.conds["positive"], None), predict(self.conds["negative"])
            return negative + (positive - negative) * self.cfg

    model, *prompts = feature(case, name)
    results = []
    for kind in (comfy.samplers.CFGGuider, OneByOne):
        guider = kind(model)
        guider.set_conds(*prompts)
        guider.set_cfg(4.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 2)
        noise, sampler = randn(1, 4, 16, 16, seed=1), comfy.samplers.sampler_object("euler")
        with torch.inference_mode():
            results.append(guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, seed=1))
    torch.testing.assert_close(*results, **CLOSE)
