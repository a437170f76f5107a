"""Facelets, the tiny generator of drawn portraits: its models' sizes, and the classes that describe it to ComfyUI."""

from typing import Any

from comfy import latent_formats, model_base, sd1_clip, supported_models

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
# ComfyUI's estimates of what a forward needs are for SD1.5: 320 channels in the U-Net, and 128 channels on every pixel
# in the autoencoder, where Facelets has 32 on every fourth.
UNET_MEMORY = UNET["model_channels"] / 320
AUTOENCODER_MEMORY = 32 / 128 / 4


class FaceletsLatent(latent_formats.SD15):
    """SD1.5's latents in scale, of 8 channels and with colours of their own in the sampler's previews."""

    latent_channels = CHANNELS

    def __init__(self, latent_rgb: dict | None = None):
        """`latent_rgb`: {"factors": 8 rows of 3, "bias": 3}: scaled latents to RGB in -1..1; None: no previews."""
        super().__init__()
        self.taesd_decoder_name = None
        self.latent_rgb_factors = latent_rgb and latent_rgb["factors"]
        self.latent_rgb_factors_bias = latent_rgb and latent_rgb["bias"]


class FaceletsModel(supported_models.SD15):
    """The U-Net as ComfyUI's loaders describe a model: it predicts the velocity, on SD's schedule."""

    unet_extra_config: dict = {}
    memory_usage_factor = supported_models.SD15.memory_usage_factor * UNET_MEMORY

    def __init__(self, latent_rgb: dict | None = None):
        super().__init__(UNET)
        self.latent_format = FaceletsLatent(latent_rgb)

    def model_type(self, state_dict: dict, prefix: str = "") -> model_base.ModelType:
        return model_base.ModelType.V_PREDICTION

    def inpaint_model(self) -> bool:
        return False  # ComfyUI takes every U-Net with more than 4 channels for one


class FaceletsClip(sd1_clip.SD1ClipModel):
    """SD1.5's text encoder with 3 layers of 128 numbers in place of 12 of 768."""

    def __init__(self, device: Device = "cpu", dtype: Dtype = None, model_options: dict | None = None):
        super().__init__(device, dtype, {**(model_options or {}), "clip_l_model_config": TEXT_ENCODER})
