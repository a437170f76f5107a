"""SD1.5 and SDXL as ComfyUI describes them, with narrow channels and narrow text encoders; block layouts unchanged.

"sd15_full" and "sdxl_full" are SD1.5 and SDXL in their full width, for benchmarks: 1.7 GB and 5.1 GB in fp16.
"""

from comfy import sd1_clip, sdxl_clip
from comfy.supported_models import SD15, SDXL
from comfy.supported_models_base import ClipTarget


def _text_encoder(width: int, activation: str) -> dict:
    # Penultimate-layer output needs three layers; the vocabulary stays CLIP's own, for the stock tokenizer.
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "hidden_act": activation,
    }


class TinySD15ClipModel(sd1_clip.SD1ClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None):
        narrow = {"clip_l_model_config": _text_encoder(48, "quick_gelu")}
        super().__init__(device, dtype, {**(model_options or {}), **narrow})


class TinySDXLClipModel(sdxl_clip.SDXLClipModel):
    def __init__(self, device="cpu", dtype=None, model_options=None):
        narrow = {"clip_l_model_config": _text_encoder(32, "quick_gelu")}
        narrow["clip_g_model_config"] = _text_encoder(32, "gelu")
        super().__init__(device, dtype, {**(model_options or {}), **narrow})


class TinySD15(SD15):
    """16 cross-attention sites of 32, 64 and 128 channels; 8 heads everywhere; text width 48."""

    unet_config = {**SD15.unet_config, "context_dim": 48, "model_channels": 32}

    def clip_target(self, state_dict=None):
        return ClipTarget(sd1_clip.SD1Tokenizer, TinySD15ClipModel)


class TinySDXL(SDXL):
    """70 cross-attention sites of 64 and 128 channels; heads of 32; text width 64 = 32 + 32, of which 32 pooled."""

    # pooled text and six size numbers of 256 each, the vector that ComfyUI's SDXL class builds
    unet_config = {**SDXL.unet_config, "context_dim": 64, "model_channels": 32, "adm_in_channels": 32 + 6 * 256}
    unet_extra_config = {"num_heads": -1, "num_head_channels": 32}

    def clip_target(self, state_dict=None):
        return ClipTarget(sdxl_clip.SDXLTokenizer, TinySDXLClipModel)


# What ComfyUI's detection reads from a checkpoint's shapes, beyond the keys that tell one family from another.
_COMMON = {
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "in_channels": 4,
    "out_channels": 4,
    "use_temporal_resblock": False,
}
_SD15 = {
    **_COMMON,
    **TinySD15.unet_config,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
}
_SDXL = {
    **_COMMON,
    **TinySDXL.unet_config,
    "num_classes": "sequential",
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth_middle": 10,
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
}
_KINDS = {
    "sd15": (TinySD15, _SD15),
    "sdxl": (TinySDXL, _SDXL),
    "sd15_full": (SD15, {**_SD15, **SD15.unet_config}),
    "sdxl_full": (SDXL, {**_SDXL, **SDXL.unet_config}),
}


def model_config(kind: str, dtype, compute=None):
    """ComfyUI's configuration of a kind, one of _KINDS, with weights in `dtype`, computing in `compute` if given."""
    config_class, unet_config = _KINDS[kind]
    config = config_class(unet_config)
    config.set_inference_dtype(dtype, compute)
    return config
