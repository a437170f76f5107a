"""Facelets' models against diffusers' and transformers' classes of the same sizes, with the same random weights."""

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from facelets import networks
from facelets_files import CHANNELS, contents
from host_cases import randn
from likeness.core.host.facelets import load
from likeness.core.host.facelets.config import UNET
from transformers import CLIPTextConfig, CLIPTextModel

SIZES = {
    "in_channels": CHANNELS,
    "block_out_channels": (64, 128, 128),
    "layers_per_block": 1,
    "attention_head_dim": (2, 4, 4),  # by its old name: the number of heads
    "cross_attention_dim": 128,
    "use_linear_projection": True,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
}
UP_BLOCKS = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")


@pytest.fixture(scope="module")
def weights():
    """Rounded to fp16 as in the files: ComfyUI keeps a text encoder's weights so."""
    files = contents()
    return {name: {key: value.half().float() for key, value in file.items()} for name, file in files.items()}


@pytest.fixture(scope="module")
def renamed():
    """diffusers' names of the U-Net's tensors and the LDM names."""
    import comfy.utils

    return comfy.utils.unet_to_diffusers(UNET)


@pytest.fixture(scope="module")
def seen():
    """What a U-Net is given: two latents at two timesteps, with two prompts."""
    return randn(2, CHANNELS, 24, 16, seed=1), torch.tensor([37.0, 801.0]), randn(2, 77, 128, seed=2)


def filled(module, weights):
    """A reference module with all of `weights`, by its own names."""
    module.load_state_dict(weights)
    return module.eval().requires_grad_(False)


def agree(ours, theirs, tolerance=1e-4):
    difference = (ours - theirs).abs().max().item()
    print(f"\nmax difference {difference:.1e}, std {theirs.std():.2f}")
    assert theirs.std() > 0.01 and difference <= tolerance


@torch.inference_mode()
def test_unet(weights, renamed, seen):
    reference = UNet2DConditionModel(**SIZES, out_channels=CHANNELS, up_block_types=UP_BLOCKS)
    assert {renamed[key] for key in reference.state_dict()} == weights["unet"].keys()
    filled(reference, {key: weights["unet"][renamed[key]] for key in reference.state_dict()})
    ours = load.build_model(weights["unet"]).model.diffusion_model
    latents, steps, context = seen
    agree(ours(latents, steps, context), reference(latents, steps, context).sample)


@torch.inference_mode()
def test_velocity_prediction_on_sd_s_schedule(weights, renamed, seen):
    """ComfyUI's whole way from a noisy latent to the denoised one, by diffusers' formula for the predicted velocity."""
    from diffusers import DDIMScheduler

    model = load.build_model(weights["unet"]).model
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(**schedule, prediction_type="v_prediction", clip_sample=False)
    kept = scheduler.alphas_cumprod[[37, 801]]
    sigma = ((1 - kept) / kept).sqrt()
    latents, steps, context = seen
    noisy = latents * (1 + sigma.square()).sqrt().view(-1, 1, 1, 1)  # as ComfyUI holds it: picture + sigma * noise
    ours = model.apply_model(noisy, sigma, c_crossattn=context)
    velocity = model.diffusion_model(latents, steps, context)
    scheduler.set_timesteps(1000)
    theirs = [scheduler.step(velocity[i], int(steps[i]), latents[i]).pred_original_sample for i in (0, 1)]
    agree(ours, torch.stack(theirs), tolerance=1e-3)
    assert model.latent_format.scale_factor == 0.3611


@torch.inference_mode()
def test_control_net(weights, renamed, seen):
    from parity.diffusers_reference import _ldm_key

    reference = ControlNetModel(**SIZES, conditioning_embedding_out_channels=(16, 32, 96, 256))
    names = {key: _ldm_key(key, renamed) for key in reference.state_dict()}
    assert set(names.values()) == weights["controlnet"].keys()
    filled(reference, {key: weights["controlnet"][name] for key, name in names.items()})
    ours = load.build_control_net(weights["controlnet"]).control_model
    latents, steps, _ = seen
    tokens, hint = randn(2, 16, 128, seed=3), randn(2, 3, 192, 128, seed=4).sigmoid()
    residuals = ours(latents, hint, steps, tokens)
    down, middle = reference(latents, steps, tokens, hint, return_dict=False)
    assert len(residuals["output"]) == len(down) == 6
    for one, other in zip([*residuals["output"], *residuals["middle"]], [*down, middle], strict=True):
        agree(one, other)


@torch.inference_mode()
def test_text_encoder(weights):
    reference = CLIPTextModel(CLIPTextConfig(**load.TEXT_ENCODER))
    ours = {key.removeprefix("text_model."): value for key, value in weights["text_encoder"].items()}
    # transformers 5 leaves the prefix out of the class, not out of the files
    names = {key: key.removeprefix("text_model.") for key in reference.state_dict()}
    assert set(names.values()) == ours.keys()
    filled(reference, {key: ours[name] for key, name in names.items()})

    clip = load.build_clip(weights["text_encoder"])
    text = "a portrait of a person, red curly hair, glasses"
    tokens = clip.tokenize(text)
    numbers = torch.tensor([[token for token, _ in tokens["l"][0]]])
    theirs = reference(numbers, output_hidden_states=True)
    context, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
    agree(context, theirs.last_hidden_state)
    agree(pooled, theirs.pooler_output)
    trained = filled(networks.new_text_encoder(), weights["text_encoder"])
    agree(trained(numbers)[0], theirs.last_hidden_state)

    norm = reference.get_submodule(
        next(name for name, _ in reference.named_modules() if name.endswith("final_layer_norm"))
    )
    clip.clip_layer(-2)
    agree(clip.encode_from_tokens(tokens), norm(theirs.hidden_states[-2]))
