"""Facelets' models one by one: what their builders take and reckon."""

import pytest
import torch
from comfy_versions import show_previews, vae_bytes
from facelets_files import contents
from likeness.core.host.facelets import load


@pytest.fixture(scope="module")
def weights():
    return contents()


@pytest.mark.parametrize(
    "name, builder",
    [
        ("unet", "build_model"),
        ("text_encoder", "build_clip"),
        ("vae", "build_vae"),
        ("controlnet", "build_control_net"),
    ],
)
def test_a_builder_refuses_what_is_not_its_own(weights, name, builder):
    first = next(iter(weights[name]))
    lacking = {key: value for key, value in weights[name].items() if key != first}
    for wrong in (lacking, {**weights[name], "more": torch.zeros(1)}, {**weights[name], first: torch.zeros(3, 5)}):
        with pytest.raises(load.WeightsError, match=f"^{name}.safetensors is damaged: its tensors are not those"):
            getattr(load, builder)(wrong)


def test_memory_is_reckoned_for_narrow_models(weights):
    """By ComfyUI's formulas for SD1.5: a fifth of the channels; a quarter on a quarter of the positions."""
    shape = (1, 16, 16, 16)
    assert load.build_model(weights["unet"]).memory_required(shape) == pytest.approx(256 * 0.15 * 2**20 / 5)
    vae = load.build_vae(weights["vae"])
    assert vae.memory_used_decode(shape, torch.float32) == 2178 * 128 * 128 * 4 / 16
    assert vae.memory_used_encode((1, 3, 128, 128), torch.float32) == 1767 * 128 * 128 * 4 / 16
    assert vae_bytes(vae) == sum(4 * value.numel() for value in weights["vae"].values())


def test_without_colours_there_are_no_previews(weights, monkeypatch):
    import latent_preview

    show_previews(monkeypatch, latent_preview.LatentPreviewMethod.Auto)
    model = load.build_model(weights["unet"])
    assert latent_preview.get_previewer(model.load_device, model.model.latent_format) is None
