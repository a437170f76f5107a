"""Identity adapters' maths by diffusers alone: its U-Net, IP-Adapter, ControlNet and Euler scheduler, narrow models."""

import comfy.utils
import torch
from diffusers import ControlNetModel, EulerDiscreteScheduler, UNet2DConditionModel

_SDXL = {
    "in_channels": 4,
    "block_out_channels": (32, 64, 128),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (1, 2, 4),  # by its old name: the number of heads
    "cross_attention_dim": 64,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 32 + 6 * 256,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
}
_UP_BLOCKS = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
_SD15 = {
    "in_channels": 4,
    "block_out_channels": (32, 64, 128, 128),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 48,
}


def unet_like(comfy_model) -> UNet2DConditionModel:
    """A diffusers U-Net with the weights of a tiny SDXL or SD1.5 MODEL; every key on both sides is used."""
    config = comfy_model.model.model_config.unet_config
    table = comfy.utils.unet_to_diffusers(config)
    source = comfy_model.model.diffusion_model.state_dict()
    is_sdxl = config["context_dim"] == _SDXL["cross_attention_dim"]
    unet = UNet2DConditionModel(**{**_SDXL, "up_block_types": _UP_BLOCKS} if is_sdxl else _SD15)
    assert {table[key] for key in unet.state_dict()} == source.keys()
    unet.load_state_dict({key: source[table[key]] for key in unet.state_dict()})
    return unet.eval()


def controlnet_like(comfy_weights, unet_config) -> ControlNetModel:
    """A diffusers ControlNet with weights that are given in the ldm layout (`input_blocks...`, `zero_convs...`)."""
    table = comfy.utils.unet_to_diffusers(unet_config)
    controlnet = ControlNetModel(**_SDXL, conditioning_embedding_out_channels=(16, 32, 96, 256))
    renamed = {key: comfy_weights[_ldm_key(key, table)] for key in controlnet.state_dict()}
    assert len(renamed) == len(comfy_weights)
    controlnet.load_state_dict(renamed)
    return controlnet.eval()


def _ldm_key(key, table):
    stem, part = key.rsplit(".", 1)
    if stem.startswith("controlnet_cond_embedding."):
        layer = stem.removeprefix("controlnet_cond_embedding.")
        index = {"conv_in": 0, "conv_out": 14}.get(layer)
        return f"input_hint_block.{2 + 2 * int(layer.removeprefix('blocks.')) if index is None else index}.{part}"
    if stem.startswith("controlnet_down_blocks."):
        return f"zero_convs.{stem.removeprefix('controlnet_down_blocks.')}.0.{part}"
    if stem == "controlnet_mid_block":
        return f"middle_block_out.0.{part}"
    return table[key]


def fold_lora(unet, checkpoint, strength: float):
    """Add a checkpoint's LoRA layers to the U-Net's own weights; which layer is which is for diffusers to say."""
    layers, weights = unet._load_ip_adapter_loras([checkpoint])[0], unet.state_dict()
    for name in [name for name in layers if name.endswith(".down.weight")]:
        path, part = name.removeprefix("unet.").removesuffix("_lora.down.weight").split(".processor.")
        target = f"{path}.{'to_out.0' if part == 'to_out' else part}.weight"
        weights[target] += strength * layers[name.replace(".down.", ".up.")] @ layers[name]
    unet.load_state_dict(weights)


@torch.inference_mode()
def denoise(
    unet, noise, text, added, cfg, steps, face, weight, mask=None, controlnet=None, hint=None, strength=0.0,
    image_embeds=None,
):  # fmt: skip
    """Euler over `steps` evenly spaced timesteps with guidance; rows are (unconditional, conditional).

    noise [1,4,h,w]; text [2,T,64]; added {"text_embeds" [2,32], "time_ids" [2,6]} or {}; face [2,1,D]: zeros and the
    vector; mask [1,1,H,W]; hint [1,3,8h,8w]. A ControlNet's context is the identity tokens alone. `image_embeds`
    [2,pictures,...]: what the adapter is given in place of `face`.
    """
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading"
    )
    scheduler.set_timesteps(timesteps=[999 - 1000 * i // steps for i in range(steps)])
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [weight]
    tokens = None if controlnet is None else unet.encoder_hid_proj.image_projection_layers[0](face)
    masks = {} if mask is None else {"cross_attention_kwargs": {"ip_adapter_masks": [mask]}}
    sample = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        both = scheduler.scale_model_input(torch.cat([sample, sample]), t)
        control = {}
        if controlnet is not None:
            down, middle = controlnet(
                both, t, tokens, hint.expand(2, -1, -1, -1), strength, added_cond_kwargs=added, return_dict=False
            )
            control = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        # one reference picture with one face vector: [rows, pictures, vectors, D]
        conditions = {**added, "image_embeds": [face.unsqueeze(1) if image_embeds is None else image_embeds]}
        uncond, cond = unet(both, t, text, added_cond_kwargs=conditions, **control, **masks, return_dict=False)[
            0
        ].chunk(2)
        sample = scheduler.step(uncond + cfg * (cond - uncond), t, sample, return_dict=False)[0]
    return sample
