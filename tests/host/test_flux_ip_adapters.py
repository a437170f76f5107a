"""The plain IP-Adapters for FLUX from a picture on: what they see of it, and what of nobody's."""

import flux_cases
import pytest
import torch
from likeness.core.host.adapters import adapter as adapters
from likeness.core.host.who.person import Sources, gather
from likeness.core.vision.clip_tower import clip_square
from node_cases import face
from tiny import flux as tiny


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


def test_xlabs_from_the_picture_to_the_latent(clip_vision):
    model, prompt = tiny.flux(), flux_cases.conditioning(1)
    sources = Sources(image=face("A"), clip_vision=clip_vision)
    *state, _ = adapters.apply_adapter(model, prompt, prompt, flux_cases.xlabs(), sources, adapters.Strength(1.0))
    plain = flux_cases.sample(model, prompt, prompt, steps=1)
    assert (flux_cases.sample(*state, steps=1) - plain).abs().max() > 1e-2 * plain.abs().max()
