"""Adapters for FLUX from a photograph on: what they see of it, and what of nobody's picture."""

import flux_cases
import pytest
import torch
from likeness.core.host.adapters import adapter as adapters
from likeness.core.host.comfyui.managed import managed
from likeness.core.host.who.person import Sources, gather
from likeness.core.vision.clip_tower import clip_square
from likeness.core.vision.siglip import load_siglip
from node_cases import face
from tiny import flux as tiny
from tiny.siglip import SIZES, siglip


@pytest.fixture(scope="module")
def clip_vision(comfyui, tmp_path_factory):
    from tiny.vision import clip_vision

    return clip_vision(tmp_path_factory.mktemp("vision"), "clip-l")


def test_xlabs_sees_the_whole_picture_and_a_black_one_of_nobody(clip_vision):
    loaded = flux_cases.xlabs()
    image = torch.cat([face("A"), face("C")])
    person = gather(loaded.spec, loaded.file_name, Sources(image=image, clip_vision=clip_vision), torch.device("cpu"))
    squares = clip_square(image.movedim(-1, 1), clip_vision.image_size).movedim(1, -1)
    expected = clip_vision.encode_image(squares).image_embeds.mean(0, keepdim=True)
    torch.testing.assert_close(person.face.seen.pooled, expected)
    black = clip_vision.encode_image(torch.zeros_like(image[:1])).image_embeds
    torch.testing.assert_close(person.nobody.seen.pooled, black)
    assert black.any()


def with_siglip(loaded):
    """The adapter with a SigLIP of its look's, as if it had come from its file."""
    width, _, side = SIZES[loaded.spec.look.vision]
    vars(loaded)["eyes"] = managed(load_siglip(siglip(loaded.spec.look.vision), width, side))
    return loaded


def test_from_the_photograph_to_the_latent(encoder, clip_vision):
    """WithAnyone's banks hold K and V of what the published file makes: of SigLIP's 256 tokens and 8 of the vector."""
    model, prompt, image = tiny.flux(), flux_cases.conditioning(1), face("A")
    plain = flux_cases.sample(model, prompt, prompt, steps=1)
    for loaded, tokens, sources in (
        (flux_cases.xlabs(), 4, {"clip_vision": clip_vision}),
        (with_siglip(flux_cases.instantx()), 8, {}),
        (with_siglip(flux_cases.withanyone()), 256 + 8, {"encoder": encoder}),
        (flux_cases.withanyone_ke(), 8, {"encoder": encoder}),
    ):
        *state, _ = adapters.apply_adapter(
            model, prompt, prompt, loaded, Sources(image=image, **sources), adapters.Strength(1.0)
        )
        keys = flux_cases.sites_of(state[0])[0].k
        assert (keys if isinstance(keys, torch.Tensor) else keys[0]).shape[1] == tokens
        assert (flux_cases.sample(*state, steps=1) - plain).abs().max() > 1e-2 * plain.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_instantx_projects_in_the_precision_of_its_file(dtype):
    """Its second layer has 1.2 billion numbers: a copy of it in single precision would take 4.8 GB."""
    whole, half = flux_cases.instantx().patcher.model, flux_cases.instantx().patcher.model.to(dtype)
    taken = []
    half.image_proj.proj[2].register_forward_pre_hook(lambda layer, args: taken.append(args[0].dtype))
    [seen, _] = flux_cases.picture(1152)
    tokens, expected = half.project(seen), whole.project(seen)
    assert taken == [dtype] and tokens.dtype == expected.dtype == torch.float32
    assert (tokens - expected).abs().mean() < 0.02 * expected.abs().mean()
