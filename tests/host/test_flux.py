"""An adapter in FLUX's blocks among other nodes: when it does nothing, what it leaves alone, and who else is there."""

import logging
from types import SimpleNamespace

import flux_cases
import pytest
import torch
from flux_cases import PICTURE_SIZE, apply, conditioning, pulid_face, pulid_flux, sample
from host_cases import randn
from likeness.core.host.dit.blocks import BlockPatch
from likeness.core.host.foundation import model_kind
from likeness.core.host.sampling.injection import Injection
from likeness.core.host.sampling.spans import Span
from tiny import flux as tiny

CLOSE = {"atol": 2e-5, "rtol": 2e-5}  # rows that are computed in other batches are rounded otherwise


@pytest.fixture(scope="module")
def model():
    return tiny.flux()


@pytest.fixture(scope="module")
def adapter():
    return pulid_flux()


@pytest.fixture(scope="module")
def applied(model, adapter):
    return apply(model, adapter, pulid_face())


@pytest.fixture(scope="module")
def drawn(applied):
    return sample(*applied)


@pytest.fixture(scope="module")
def plain(model):
    return sample(model, conditioning(1), conditioning(2))


def blocks(model):
    return model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})


def half(left=True, pictures=1):
    mask = torch.zeros(pictures, *PICTURE_SIZE)
    mask[..., : PICTURE_SIZE[1] // 2] = 1
    return mask if left else 1 - mask


# -- nothing is nothing ----------------------------------------------------------------------------------------------


def test_the_sites_are_the_blocks(model):
    under = model_kind(model)
    assert (len(under.sites), under.name, under.text_width) == (57, "FLUX", tiny.TEXT)
    assert under.sites[18].key == ("double_block", 18) and under.sites[19].key == ("single_block", 0)


def test_nothing_is_exactly_nothing(model, adapter, plain):
    prompts = conditioning(1), conditioning(2)
    assert apply(model, adapter, pulid_face(), mask=torch.zeros(1, 8, 8))[0] is model
    late = apply(model, adapter, pulid_face(), start_at=0.999, prompts=prompts)
    assert torch.equal(sample(*late), plain)  # a range that no step falls into


def test_a_white_mask_is_no_mask(model, adapter, drawn):
    assert torch.equal(sample(*apply(model, adapter, pulid_face(), mask=torch.ones(1, *PICTURE_SIZE))), drawn)


def test_twenty_of_twenty_sites_fire(applied, caplog, monkeypatch):
    fired = count_fired(monkeypatch)
    with caplog.at_level(logging.WARNING):
        sample(*applied)
    assert fired == [20] and "Likeness" not in caplog.text


def count_fired(monkeypatch):
    """How many sites each run has called, when it ends."""
    from likeness.core.host.sampling import run

    counts, opened = [], run.RunScope.__call__

    def counting(self, executor, *args, **kwargs):
        held = []

        def inner(*inside, **more):
            options = executor.class_obj.model_options["transformer_options"]
            held.append(options["likeness"])
            return executor(*inside, **more)

        inner.class_obj = executor.class_obj
        result = opened(self, inner, *args, **kwargs)
        counts.append(len(held[0].fired))
        return result

    monkeypatch.setattr(run.RunScope, "__call__", counting)
    return counts


# -- upstream, clones and queueing again -----------------------------------------------------------------------------


def test_ten_times_the_same_and_the_model_upstream_untouched(model, adapter, drawn, plain):
    for _ in range(10):
        assert torch.equal(sample(*apply(model, adapter, pulid_face())), drawn)
    assert not blocks(model) and torch.equal(sample(model, conditioning(1), conditioning(2)), plain)


def test_clones_share_no_patches(applied):
    model, *_ = applied
    clone = model.clone()
    mine, theirs = blocks(model), blocks(clone)
    assert len(mine) == 20 and mine.keys() == theirs.keys()
    assert all(isinstance(theirs[key], BlockPatch) and theirs[key] is not mine[key] for key in mine)


def test_a_chain_from_one_model_leaves_its_branches_alone(model, adapter, applied, drawn):
    both = apply(applied[0], adapter, pulid_face(40), prompts=applied[1:])
    pictures = sample(*both), sample(*applied)
    assert torch.equal(pictures[1], drawn) and not torch.equal(*pictures)


def test_two_people_in_any_order(model, adapter):
    def chain(*seeds):
        patched = model, conditioning(1), conditioning(2)
        for seed in seeds:
            mask = half(left=seed == 0)
            patched = apply(patched[0], adapter, pulid_face(seed), mask=mask, prompts=patched[1:])
        return sample(*patched)

    torch.testing.assert_close(chain(0, 40), chain(40, 0), atol=2e-6, rtol=2e-6)


# -- other nodes -----------------------------------------------------------------------------------------------------


class Scaling:
    """Another pack's patch of a block, which scales what the block says about the picture."""

    def __init__(self, before=None):
        self.before, self.kept = before, []

    def __deepcopy__(self, memo):
        return self

    def __call__(self, args, extra):
        out = self.before(args, extra) if self.before is not None else extra["original_block"](args)
        self.kept.append((out["img"], out["img"].clone()))
        return {**out, "img": out["img"] * 1.5}


@pytest.mark.parametrize("key", [("double_block", 4), ("single_block", 8)])
def test_a_patch_that_was_there_is_called_and_its_tensors_are_its_own(model, adapter, drawn, key):
    patched = model.clone()
    patched.set_model_patch_replace(theirs := Scaling(), "dit", *key)
    before = sample(patched, conditioning(1), conditioning(2))
    out = sample(*apply(patched, adapter, pulid_face()))
    assert not torch.equal(out, before) and not torch.equal(out, drawn)
    assert len(theirs.kept) == 4 and not any(torch.equal(one, theirs.kept[0][1]) for one, _ in theirs.kept[1:])


def test_what_another_patch_has_returned_is_not_written_into(model, adapter):
    class Keeping(Scaling):
        def __call__(self, args, extra):
            out = extra["original_block"](args)
            self.kept.append((out["img"], out["img"].clone()))
            return out

    patched = model.clone()
    patched.set_model_patch_replace(theirs := Keeping(), "dit", "single_block", 36)
    sample(*apply(patched, adapter, pulid_face()), steps=1)
    [(returned, copy)] = theirs.kept
    assert torch.equal(returned, copy)


def test_a_patch_that_comes_later_and_wraps_ours(applied, drawn):
    model = applied[0].clone()
    key = ("double_block", 4)
    model.set_model_patch_replace(Scaling(blocks(model)[key]), "dit", *key)
    assert not torch.equal(sample(model, *applied[1:]), drawn)


def test_blocks_that_a_later_node_has_taken_are_said(applied, caplog):
    model = applied[0].clone()
    for number in (0, 2):
        model.set_model_patch_replace(Scaling(), "dit", "double_block", number)
    with caplog.at_level(logging.WARNING):
        sample(model, *applied[1:])
    assert "2 of 20 attention layers never got the identity" in caplog.text


def test_skip_layer_guidance_in_both_orders(model, adapter):
    """ComfyUI's own node, which leaves blocks out in one more forward."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    def guided(model):
        out = SkipLayerGuidanceDiT.execute(model, 3.0, 0.0, 1.0, "7, 8", "9")
        return out.result[0] if hasattr(out, "result") else out[0]

    one = sample(guided(apply(model, adapter, pulid_face())[0]), conditioning(1), conditioning(2), cfg=2.0)
    other = sample(apply(guided(model), adapter, pulid_face())[0], conditioning(1), conditioning(2), cfg=2.0)
    torch.testing.assert_close(one, other, **CLOSE)


# -- batches, guidance, schedules ------------------------------------------------------------------------------------


def test_a_batch_is_its_pictures(model, adapter, applied):
    masks = torch.cat([half(), half(left=False)])
    patched = apply(model, adapter, pulid_face(), mask=masks)
    noise = randn(2, tiny.CHANNELS, *flux_cases.SIZE, seed=1)
    together = from_noise(patched, noise)
    for number in range(2):
        alone = apply(model, adapter, pulid_face(), mask=masks[number : number + 1])
        torch.testing.assert_close(
            from_noise(alone, noise[number : number + 1]), together[number : number + 1], **CLOSE
        )


def from_noise(patched, noise, steps=2, cfg=1.0):
    import comfy.sample

    model, positive, negative = patched
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, steps, cfg, "euler", "simple", positive, negative, torch.zeros_like(noise), seed=1,
            disable_pbar=True,
        )  # fmt: skip


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_schnell_in_four_steps(adapter, sampler):
    model = tiny.flux("schnell")
    prompts = conditioning(1), conditioning(2)
    out = sample(*apply(model, adapter, pulid_face()), steps=4, sampler=sampler)
    assert out.isfinite().all() and not torch.equal(out, sample(model, *prompts, steps=4, sampler=sampler))


def test_chroma_is_drawn_and_said_to_be_another_model(adapter, caplog):
    model = tiny.flux("chroma")
    with caplog.at_level(logging.WARNING):
        patched = apply_checked(model, adapter)
    out = sample(*patched, cfg=2.0)
    assert "nobody has trained it for Chroma" in caplog.text
    assert out.isfinite().all() and not torch.equal(out, sample(model, *patched[1:], cfg=2.0))


def apply_checked(model, adapter):
    """Applied as the node does, which looks whether they belong together."""
    from likeness.core.host.adapters import adapter as adapters

    adapters._check_fit(adapter, model_kind(model))
    return apply(model, adapter, pulid_face())


# -- where -----------------------------------------------------------------------------------------------------------


def test_area_prompts_get_their_part_of_the_mask(model, adapter):
    """The left half of the picture under a prompt of its own: with a mask of the right half it has no identity."""
    area = {"area": (12, 8, 0, 0), "strength": 1.0}
    prompt = conditioning(1, **area)
    bare = sample(model, prompt, prompt)
    right = sample(*apply(model, adapter, pulid_face(), mask=half(left=False), prompts=(prompt, prompt)))
    left = sample(*apply(model, adapter, pulid_face(), mask=half(), prompts=(prompt, prompt)))
    whole = sample(*apply(model, adapter, pulid_face(), prompts=(prompt, prompt)))
    torch.testing.assert_close(right, bare, **CLOSE)
    torch.testing.assert_close(left, whole, **CLOSE)
    assert not torch.equal(whole, bare)


def test_tiles_of_another_node(model, adapter):
    """Each tile has its part of the mask: black there, it is drawn as without the identity."""
    patched = apply(model, adapter, pulid_face(), mask=half(left=False))

    def tiled(model):
        model = model.clone()
        model.set_model_unet_function_wrapper(left_then_right)
        return model

    out, bare = sample(tiled(patched[0]), *patched[1:]), sample(tiled(model), *patched[1:])
    torch.testing.assert_close(out[..., :8], bare[..., :8], **CLOSE)
    assert (out - bare)[..., 8:].abs().amax() > 1e-2


def left_then_right(apply_model, arguments):
    """A model function wrapper that shows the model the two halves of the latents, one after the other."""
    halves = []
    for part in arguments["input"].chunk(2, dim=-1):
        halves.append(apply_model(part, arguments["timestep"], **arguments["c"]))
    return torch.cat(halves, dim=-1)


def test_a_reference_picture_keeps_its_tokens(model, adapter, monkeypatch):
    """Kontext's tokens lie behind the picture's."""
    prompt = conditioning(1, reference_latents=[randn(1, tiny.CHANNELS, 6, 8, seed=9)])
    patched = apply(model, adapter, pulid_face(), prompts=(prompt, prompt), mask=half())
    assert sample(*patched).isfinite().all()


def test_half_precision_stays_finite():
    """An addition that goes over float16's range is held at its end, as the blocks hold their own."""
    site = type("Loud", (torch.nn.Module,), {
        "where": "after", "forward": lambda self, q, *_: torch.full_like(q, 60000.0),
    })()  # fmt: skip
    injection = Injection(SimpleNamespace(model=SimpleNamespace(sites=[site], mask=None)), Span(0.0, 1.0))
    patch = BlockPatch(("double_block", 0), [(injection, 0, None)], 2)
    args = {"img": torch.full((1, 4, 8), 30000.0, dtype=torch.float16), "txt": torch.zeros(1, 3, 8), "pe": None}
    args["transformer_options"] = {"cond_or_uncond": [0]}
    out = patch(args, {"original_block": lambda args: {"img": args["img"], "txt": args["txt"]}})
    assert (out["img"] == 65504).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_near_as_the_models_own(dtype, drawn, plain):
    model, adapter = tiny.flux(dtype=dtype), pulid_flux()
    adapter.patcher.model.to(dtype)
    off = (sample(*apply(model, adapter, pulid_face())) - drawn).abs().mean()
    own = (sample(model, conditioning(1), conditioning(2)) - plain).abs().mean()
    print(dtype, off, own)
    assert off < 1.5 * own
