"""The small FLUX: trained as diffusers' class, and the same in ComfyUI's."""

import pytest
import torch
from facelets import flux, networks
from facelets.pack import module
from tiny.weights import fill
from torch import nn


class Bare(flux.TaughtFlux):
    """Without the text encoder and the reader, which other stages train."""

    def __init__(self):
        nn.Module.__init__(self)
        self.flux = fill(flux.new_flux(), seed=4)
        places = torch.zeros(flux.SIDE, flux.SIDE, 3)
        places[..., 1], places[..., 2] = torch.arange(flux.SIDE)[:, None], torch.arange(flux.SIDE)[None]
        self.places = places.flatten(0, 1)


@pytest.fixture(scope="module")
def trained():
    return Bare().requires_grad_(False)


def test_comfyuis_class_predicts_what_was_trained(trained):
    comfy = module("comfy.ldm.flux.model").Flux(
        image_model="flux", dtype=torch.float32, device="cpu", operations=module("comfy.ops").disable_weight_init,
        **networks.FLUX,
    )  # fmt: skip
    comfy.load_state_dict(flux.to_comfyui(trained.flux))
    torch.manual_seed(1)
    latents, level = torch.randn(2, 16, 16, 16), torch.tensor([0.9, 0.3])
    context, pooled = torch.randn(2, 77, 128), torch.randn(2, 128)
    with torch.no_grad():
        ours = trained.velocity(latents, level, context, pooled)
        theirs = comfy(latents, level, context, pooled)
    assert (ours - theirs).abs().max() < 2e-5 * theirs.abs().max()


def test_latents_become_tokens_and_latents_again():
    latents = torch.randn(2, 16, 16, 16)
    tokens = flux.to_tokens(latents)
    assert tokens.shape == (2, 64, 64) and torch.equal(flux.to_latents(tokens), latents)
    assert torch.equal(tokens[0, 1].view(16, 2, 2), latents[0, :, :2, 2:4])


def test_a_velocity_without_error_means_the_picture_itself(trained):
    torch.manual_seed(2)
    latents = torch.randn(5, 16, 16, 16)
    noised = trained.noised(latents)
    torch.testing.assert_close(noised.expected(noised.velocity), latents, atol=1e-5, rtol=0)
    assert (0 < noised.times).all() and (noised.times < 1).all()
    torch.testing.assert_close(noised.clear.flatten(), 1 - noised.times)
