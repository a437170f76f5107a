"""What ComfyUI makes once more of our models: on a second device, or without dynamic VRAM (`cached_patcher_init`)."""

import host_cases
import pytest
import torch
from likeness.core.host.facelets.load import load_facelets

NAMES = ("model", "clip", "vae", "adapter", "face_encoder")


@pytest.fixture(scope="module")
def facelets():
    model, clip, vae, _, adapter, encoder = load_facelets()
    return dict(zip(NAMES, (model, clip.patcher, vae.patcher, adapter.patcher, encoder.patcher), strict=True))


def again(patcher, **options):
    """By its factory, as ComfyUI calls it since 0.15.1."""
    make, arguments = patcher.cached_patcher_init
    return make(*arguments, **options)


def assert_equal_and_apart(patcher, other):
    """The same weights, each in memory of its own."""
    ours, theirs = patcher.model.state_dict(), other.model.state_dict()
    assert other.model is not patcher.model and list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype
        assert tensor.data_ptr() != theirs[name].data_ptr() or not tensor.numel()


@pytest.mark.parametrize("name", NAMES)
def test_facelets_can_be_made_again(facelets, name):
    from comfy.model_patcher import ModelPatcher

    plain = again(facelets[name], disable_dynamic=True)
    assert type(plain) is ModelPatcher
    for other in (plain, again(facelets[name])):
        assert_equal_and_apart(facelets[name], other)
    if name == "model":
        assert other.model.latent_format.latent_rgb_factors == facelets[name].model.latent_format.latent_rgb_factors


def test_what_runs_beside_a_cured_model_can_be_made_again(tiny_files):
    """A bank of keys and values, which no file holds: nodes for several GPUs copy what a model brings along."""
    from tiny.unet import unet

    rows = host_cases.conditioning("sd15"), host_cases.conditioning("sd15", seed=1)
    mask = torch.rand(1, 32, 32)
    model = host_cases.apply(unet("sd15"), *rows, kind="sd15", mask=mask)[0]
    [bank] = {id(one): one for one in model.model_patches_models()}.values()
    assert len(bank.model.sites) == 16
    assert_equal_and_apart(bank, again(bank, disable_dynamic=True))
