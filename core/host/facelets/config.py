"""Facelets, the tiny generator of drawn portraits: its models' sizes, and the classes that describe it to ComfyUI."""

from typing import Any

from comfy import latent_formats, model_base, sd1_clip, supported_models

from ...layer_types import Device, Dtype
from .autoencoder import CHANNELS

# Of the U-Net on 16 channels; the first one, on 8, is the same otherwise.
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
# ComfyUI's estimates of what a forward needs are for SD1.5: 320 channels in the U-Net, and 128 channels on every pixel
# in the autoencoder, where Facelets has 96 on every sixteenth and had 32 on every fourth.
UNET_MEMORY = UNET["model_channels"] / 320
AUTOENCODER_MEMORY = 32 / 128 / 4


def sizes_for(sizes: dict[str, Any], channels: int) -> dict[str, Any]:
    """`sizes` of a U-Net or ControlNet on latents of so many channels."""
    return {**sizes, **{name: channels for name in ("in_channels", "out_channels") if name in sizes}}


def latent_format(channels: int, latent_rgb: dict | None = None) -> latent_formats.LatentFormat:
    """FLUX's latents in scale, or SD1.5's where they have the first Facelets' 8 channels; with colours of their own
    for the sampler's previews.

    `latent_rgb`: {"factors": a row of 3 for each channel, "bias": 3}: scaled latents to RGB in -1..1; None: none.
    """
    latent = latent_formats.Flux() if channels == CHANNELS else latent_formats.SD15()
    latent.latent_channels = channels
    latent.taesd_decoder_name = None
    latent.latent_rgb_factors = latent_rgb and latent_rgb["factors"]
    latent.latent_rgb_factors_bias = latent_rgb and latent_rgb["bias"]
    return latent


class FaceletsModel(supported_models.SD15):
    """The U-Net as ComfyUI's loaders describe a model: it predicts the velocity, on SD's schedule."""

    unet_extra_config: dict = {}
    memory_usage_factor = supported_models.SD15.memory_usage_factor * UNET_MEMORY

    def __init__(self, channels: int, latent_rgb: dict | None = None):
        super().__init__(sizes_for(UNET, channels))
        self.latent_format = latent_format(channels, latent_rgb)

    def model_type(self, state_dict: dict, prefix: str = "") -> model_base.ModelType:
        return model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # ComfyUI takes every U-Net with more than 4 channels for one


class FaceletsClip(sd1_clip.SD1ClipModel):
    """SD1.5's text encoder with 3 layers of 128 numbers in place of 12 of 768."""

    def __init__(self, device: Device = "cpu", dtype: Dtype = None, model_options: dict | None = None):
        super().__init__(device, dtype, {**(model_options or {}), "clip_l_model_config": TEXT_ENCODER})
