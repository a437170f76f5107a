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
        ("flux", "build_flux"),
        ("flux_controlnet", "build_flux_control_net"),
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


def test_tokens_without_a_row_of_their_own_have_the_last_one(weights):
    table = "text_model.embeddings.token_embedding.weight"
    known = torch.tensor([7, 320, 49406, 49407], dtype=torch.int32)
    rows = torch.randn(5, 128)
    compact = {**weights["text_encoder"], table: rows, load.KNOWN_TOKENS: known}
    whole = load.build_clip(compact).cond_stage_model.clip_l.transformer.text_model.embeddings.token_embedding.weight
    assert torch.equal(whole[known.long()], rows[:4].to(whole))
    assert torch.equal(whole[8:12], rows[4:].to(whole).expand(4, -1))
    wrong = (
        {load.KNOWN_TOKENS: known[:3]},
        {load.KNOWN_TOKENS: known.long()},
        {load.KNOWN_TOKENS: known + 9},
        {table: rows[0]},
    )
    for part in wrong:
        with pytest.raises(load.WeightsError, match="^text_encoder.safetensors is damaged"):
            load.build_clip({**compact, **part})


def test_longer_prompts_for_flux_are_a_multiple_of_its_length(weights):
    clip = load.build_clip(weights["text_encoder"], tokens=load.FLUX_TEXT)
    for text, length in (("a person", 56), ("a person, " * 30, 112)):
        context, pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)
        assert context.shape == (1, length, 128) and pooled.shape == (1, 128)
