"""Facelets' models one by one: what their builders take and reckon, and that the bare modules can be trained."""

import pytest
import torch
from facelets_files import contents


@pytest.fixture(scope="module")
def facelets(pack):
    return pack.module("core.host.facelets")


@pytest.fixture(scope="module")
def weights(facelets):
    return contents(facelets)


@pytest.mark.parametrize(
    "name, builder",
    [
        ("unet", "build_model"),
        ("text_encoder", "build_clip"),
        ("vae", "build_vae"),
        ("controlnet", "build_control_net"),
    ],
)
def test_a_builder_refuses_what_is_not_its_own(facelets, weights, name, builder):
    first = next(iter(weights[name]))
    lacking = {key: value for key, value in weights[name].items() if key != first}
    for wrong in (lacking, {**weights[name], "more": torch.zeros(1)}, {**weights[name], first: torch.zeros(3, 5)}):
        with pytest.raises(facelets.WeightsError, match=f"^{name}.safetensors is damaged: its tensors are not those"):
            getattr(facelets, builder)(wrong)


def test_memory_is_reckoned_for_narrow_models(facelets, weights):
    """By ComfyUI's formulas for SD1.5: a fifth of the channels; a quarter on a quarter of the positions."""
    shape = (1, 8, 16, 16)
    assert facelets.build_model(weights["unet"]).memory_required(shape) == pytest.approx(256 * 0.15 * 2**20 / 5)
    vae = facelets.build_vae(weights["vae"])
    assert vae.memory_used_decode(shape, torch.float32) == 2178 * 128 * 128 * 4 / 16
    assert vae.memory_used_encode((1, 3, 128, 128), torch.float32) == 1767 * 128 * 128 * 4 / 16
    assert vae.get_ram_usage() == sum(4 * value.numel() for value in weights["vae"].values())


def test_without_colours_there_are_no_previews(facelets, weights, monkeypatch):
    import latent_preview

    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Auto)
    model = facelets.build_model(weights["unet"])
    assert latent_preview.get_previewer(model.load_device, model.model.latent_format) is None


def test_the_bare_modules_can_be_trained(facelets):
    """In fp32, without autocast: nothing on the way overwrites what the backward pass needs."""
    from tiny.weights import fill

    def parts(result):
        return result if isinstance(result, list | tuple) else [result]

    latents, steps, context = torch.randn(2, 8, 16, 16), torch.tensor([10.0, 700.0]), torch.randn(2, 16, 128)
    passes = {
        "unet": (facelets.new_unet(), lambda module: module(latents, steps, context)),
        "control_net": (
            facelets.new_control_net(),
            lambda module: sum(module(latents, torch.rand(2, 3, 128, 128), steps, context).values(), []),
        ),
        "autoencoder": (
            facelets.new_autoencoder(),
            lambda module: module.decode(module.encode(torch.rand(2, 3, 64, 64))),
        ),
        "text_encoder": (facelets.new_text_encoder(), lambda module: module(torch.randint(0, 49408, (2, 77)))[0]),
    }
    for name, (module, run) in passes.items():
        fill(module, seed=1).requires_grad_(True)
        sum(part.square().mean() for part in parts(run(module))).backward()
        without = [key for key, parameter in module.named_parameters() if parameter.grad is None]
        assert not without, f"{name}: {without}"
