"""Facelets, the tiny generator of drawn portraits: its models' sizes, and the classes that describe it to ComfyUI."""

import dataclasses
from typing import Any

from comfy import latent_formats, model_base, sd1_clip, supported_models
from comfy.ldm.flux.model import FluxParams

from ...layer_types import Device, Dtype
from .autoencoder import CHANNELS

# 7 cross-attention sites in the order of adapter checkpoints: 64, 128, then 128, 128, 64, 64, then 128 channels.
UNET: dict[str, Any] = {
    "image_size": 16,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "num_heads": -1,
    "num_head_channels": 32,
    "use_spatial_transformer": True,
    "transformer_depth": [1, 1, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 0, 0],
    "context_dim": 128,
    "use_linear_in_transformer": True,
    "legacy": False,
}
CONTROL_NET = {**{key: value for key, value in UNET.items() if key != "out_channels"}, "hint_channels": 3}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "eos_token_id": 49407,
}
# 4.3 million parameters, 64 tokens of a picture of 128 x 128 pixels.
FLUX: dict[str, Any] = {
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "vec_in_dim": 128,
    "context_in_dim": 128,
    "hidden_size": 144,
    "mlp_ratio": 4.0,
    "num_heads": 3,
    "depth": 3,
    "depth_single_blocks": 6,
    "axes_dim": [16, 16, 16],
    "theta": 10_000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": False,
}
# As XLabs' have: the base's three double blocks take in turn what its two say.
FLUX_CONTROL_NET = {**FLUX, "depth": 2, "depth_single_blocks": 0}
# In the text encoder's file, the numbers of the tokens that have a row in its table; the last row is all others'.
KNOWN_TOKENS = "known_tokens"
FLUX_TEXT = 56  # tokens of its prompts: captions of its world have up to 50, and CLIP's 77 cost a sixth of the time
# ComfyUI's estimates of what a forward needs are for SD1.5: 320 channels in the U-Net, and 128 channels on every pixel
# in the autoencoder, where Facelets has fewer on every sixteenth; for FLUX 3072.
UNET_MEMORY = UNET["model_channels"] / 320
FLUX_MEMORY = FLUX["hidden_size"] / 3072
AUTOENCODER_MEMORY = 1 / 16


def latent_format(latent_rgb: dict | None = None) -> latent_formats.LatentFormat:
    """FLUX's, with colours of their own for the sampler's previews.

    `latent_rgb`: {"factors": a row of 3 for each channel, "bias": 3}: scaled latents to RGB in -1..1; None: none.
    """
    latent = latent_formats.Flux()
    latent.taesd_decoder_name = None
    latent.latent_rgb_factors = latent_rgb and latent_rgb["factors"]
    latent.latent_rgb_factors_bias = latent_rgb and latent_rgb["bias"]
    return latent


class FaceletsModel(supported_models.SD15):
    """The U-Net as ComfyUI's loaders describe a model: it predicts the velocity, on SD's schedule."""

    unet_extra_config: dict = {}
    memory_usage_factor = supported_models.SD15.memory_usage_factor * UNET_MEMORY

    def __init__(self, latent_rgb: dict | None = None):
        super().__init__(UNET)
        self.latent_format = latent_format(latent_rgb)

    def model_type(self, state_dict: dict, prefix: str = "") -> model_base.ModelType:
        return model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # ComfyUI takes every U-Net with more than 4 channels for one


def flux_config(sizes: dict[str, Any]) -> dict[str, Any]:
    """What ComfyUI's class for FLUX or its ControlNet is made of, in this and in newer versions."""
    newer: dict[str, Any] = {"txt_ids_dims": []}
    named = {field.name for field in dataclasses.fields(FluxParams)}
    return {"image_model": "flux", **sizes, **{key: value for key, value in newer.items() if key in named}}


class FaceletsFlux(supported_models.FluxSchnell):
    """FLUX without guidance, whose noise levels are not shifted, as ComfyUI's loaders describe a model."""

    memory_usage_factor = supported_models.FluxSchnell.memory_usage_factor * FLUX_MEMORY

    def __init__(self, latent_rgb: dict | None = None):
        super().__init__(flux_config(FLUX))
        self.latent_format = latent_format(latent_rgb)


class FaceletsClip(sd1_clip.SD1ClipModel):
    """SD1.5's text encoder with 3 layers of 128 numbers in place of 12 of 768; `tokens` of a prompt."""

    def __init__(
        self, device: Device = "cpu", dtype: Dtype = None, model_options: dict | None = None,
        tokens: int = TEXT_ENCODER["max_position_embeddings"],
    ):  # fmt: skip
        config = {**TEXT_ENCODER, "max_position_embeddings": tokens}
        super().__init__(device, dtype, {**(model_options or {}), "clip_l_model_config": config})
