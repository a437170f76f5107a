"""CureMask: the masks of a cured model's latest run, on the pictures that it drew."""

import gc
import json
import weakref

import pytest
import torch
from cure_cases import PROMPT
from graphs import ROOT
from likeness.core.host.cure.latest import latest_masks
from node_cases import outputs, sentence

GREEN = torch.tensor([0.0, 1.0, 0.0])


@pytest.fixture
def observed(sd15):
    """(a cured model, the masks [B,A,H,W] that its runs showed, one for each attribute)."""
    seen = []
    return sd15.cure(observe=lambda attributes, masks: seen.append(masks), mode="freecure"), seen


def picture(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_the_masks_are_those_that_the_run_used(pack, sd15, observed):
    """In the latent's own size, nothing is left to resize."""
    cured, seen = observed
    sd15.sample(cured, shape=(1, 4, 16, 24))
    image = picture(1, 16, 24, 3)
    mask, overlay = outputs(pack, "CureMask", model=cured, image=image)
    assert mask.shape == (1, 16, 24) and overlay.shape == image.shape and seen[0].shape[1] > 1
    assert 0 < mask.mean() < 1
    torch.testing.assert_close(mask, seen[0].amax(dim=1))
    share = (mask * 0.5)[..., None]
    torch.testing.assert_close(overlay, image * (1 - share) + GREEN * share)


@pytest.mark.parametrize("size", [(128, 192), (96, 200)])
def test_masks_take_the_size_of_the_pictures(pack, sd15, observed, size):
    cured, seen = observed
    sd15.sample(cured, shape=(2, 4, 16, 24))
    mask, overlay = outputs(pack, "CureMask", model=cured, image=picture(2, *size, 4), opacity=1.0)
    assert mask.shape == (2, *size) and overlay.shape == (2, *size, 3) and not torch.equal(mask[0], mask[1])
    wanted = torch.nn.functional.interpolate(seen[0].amax(dim=1, keepdim=True), size=size, mode="bilinear")
    torch.testing.assert_close(mask, wanted[:, 0])
    white = mask > 0.999
    assert white.any() and (overlay[white] - GREEN).abs().max() < 2e-3


def test_a_smaller_run_serves_a_batch_that_repeats_it(pack, sd15, observed):
    cured, _ = observed
    sd15.sample(cured, shape=(2, 4, 16, 16))
    mask, _ = outputs(pack, "CureMask", model=cured, image=picture(6, 32, 32, 3))
    assert torch.equal(mask[:2], mask[2:4]) and torch.equal(mask[:2], mask[4:]) and not torch.equal(mask[0], mask[1])
    for count in (1, 3):
        text = sentence(pack, "CureMask", model=cured, image=picture(count, 32, 32, 3))
        assert f"has a batch of {count}, but the latest sampling run with this model drew 2" in text


def test_no_opacity_is_the_picture(pack, sd15, observed):
    cured, _ = observed
    sd15.sample(cured)
    image = picture(1, 40, 40, 3)
    assert torch.equal(outputs(pack, "CureMask", model=cured, image=image, opacity=0.0)[1], image)


def test_half_precision_pictures(pack, sd15, observed):
    cured, _ = observed
    sd15.sample(cured)
    mask, overlay = outputs(pack, "CureMask", model=cured, image=picture(1, 40, 40, 1).half())
    assert mask.dtype == overlay.dtype == torch.float32 and overlay.isfinite().all()


def test_the_latest_run_counts_whichever_clone_it_was_of(pack, sd15, observed):
    cured, seen = observed
    image = picture(1, 16, 16, 3)
    sd15.sample(cured, seed=1)
    sd15.sample(cured.clone(), seed=2)
    for model in (cured, cured.clone()):
        torch.testing.assert_close(outputs(pack, "CureMask", model=model, image=image)[0], seen[1].amax(dim=1))
    other = sd15.cure()
    sd15.sample(other, seed=3)
    torch.testing.assert_close(outputs(pack, "CureMask", model=cured, image=image)[0], seen[1].amax(dim=1))


def test_an_artists_mask_limits_what_is_shown(pack, sd15):
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    for prompt in (PROMPT, "a tree"):  # with the second, the artist's mask is all there is
        cured = sd15.cure(mask=left, prompt=prompt)
        sd15.sample(cured)
        mask, _ = outputs(pack, "CureMask", model=cured, image=picture(1, 16, 16, 3))
        assert mask[..., :8].any() and not mask[..., 8:].any()


@pytest.mark.parametrize("options", [{}, {"mode": "both"}, {"trajectory": "separate"}, {"abstract_pass": 0.5}])
def test_every_kind_of_cure_has_masks(pack, sd15, options):
    cured = sd15.cure(**options)
    sd15.sample(cured)
    assert outputs(pack, "CureMask", model=cured, image=picture(1, 32, 32, 3))[0].any()


def test_one_sentence(pack, sd15, observed):
    cured, _ = observed
    image = picture(1, 32, 32, 3)
    for model in (sd15.plain, sd15.model):
        assert "carries no cure: it has not been through AttributeCure" in sentence(
            pack, "CureMask", model=model, image=image
        )
    assert "run a sampler with it first" in sentence(pack, "CureMask", model=cured, image=image)
    nobody = sd15.cure(sd15.plain)
    sd15.sample(nobody)
    assert "run a sampler with it first" in sentence(pack, "CureMask", model=nobody, image=image)
    sd15.sample(cured)
    assert "has the shape [batch, height, width, 3]" in sentence(pack, "CureMask", model=cured, image=image[0])


def test_a_run_that_breaks_off_leaves_no_masks(pack, sd15, observed):
    cured, _ = observed
    sd15.sample(cured)
    with pytest.raises(RuntimeError):
        sd15.sample(cured, shape=(1, 5, 16, 16))
    assert "run a sampler with it first" in sentence(pack, "CureMask", model=cured, image=picture(1, 32, 32, 3))


def test_a_run_that_only_redraws_expressions_has_a_black_mask(pack, sd15):
    cured = sd15.cure(prompt="a portrait, laughing", mode="freecure", abstract_pass=0.5)
    sd15.sample(cured, shape=(1, 4, 16, 24))
    mask, overlay = outputs(pack, "CureMask", model=cured, image=picture(1, 32, 48, 3))
    assert mask.shape == (1, 32, 48) and not mask.any() and torch.equal(overlay, picture(1, 32, 48, 3))


def test_masks_live_as_long_as_their_model(sd15):
    cured = sd15.cure()
    sd15.sample(cured)
    masks = weakref.ref(latest_masks(cured))
    assert masks().device.type == "cpu" and masks().shape == (1, 16, 16)
    sd15.sample(cured, seed=2)
    gc.collect()
    assert masks() is None  # only those of one run are kept
    masks = weakref.ref(latest_masks(cured))
    del cured
    gc.collect()
    assert masks() is None


@pytest.fixture(scope="module")
def example():
    """The example workflow with fewer steps and the nodes turned round, so that CureMask is written before the rest."""
    graph = json.loads((ROOT / "workflows/api/facelets_cure.json").read_text())
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["steps"] = 6
    return dict(reversed(graph.items()))


def test_in_a_whole_graph_it_waits_for_the_sampler(pack, example):
    executor = pack.executor()
    first = pack.run_graph(example, executor)
    mask, overlay = first.values("23")
    assert mask.shape == (1, 128, 128) and 0.02 < mask.mean() < 0.98
    example = {**example, "23": {**example["23"], "inputs": {**example["23"]["inputs"], "opacity": 1.0}}}
    again = pack.run_graph(example, executor)  # all else is cached
    assert again.values("14")[0] is first.values("14")[0] and torch.equal(again.values("23")[0], mask)
    assert (again.values("23")[1] - overlay).abs().max() > 0.1
