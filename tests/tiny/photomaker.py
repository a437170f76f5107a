"""Tiny PhotoMaker files, versions 1 and 2, in the published layout."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS
from .ip_adapter import Numbers

FACE_DIM, RANK = 512, 4
WIDTH, PATCH, SIDE, DEPTH = 128, 14, 2, 3  # of the vision tower: pictures of 28 x 28
POOLED, QUERY_WIDTH = 24, 128  # of the first projection; of version 2's attention, one head of the published width


def vision_tower(numbers: Numbers, prefix: str) -> dict[str, torch.Tensor]:
    """CLIP's vision tower under Hugging Face's names."""
    made = {
        f"{prefix}embeddings.class_embedding": numbers.matrix(WIDTH) * WIDTH**0.5,
        f"{prefix}embeddings.patch_embedding.weight": numbers.matrix(WIDTH, 3, PATCH, PATCH) / PATCH,
        f"{prefix}embeddings.position_embedding.weight": numbers.matrix(1 + SIDE**2, WIDTH),
    }
    made |= numbers.norm(f"{prefix}pre_layrnorm", WIDTH) | numbers.norm(f"{prefix}post_layernorm", WIDTH)
    for layer in range(DEPTH):
        stem = f"{prefix}encoder.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made |= numbers.linear(f"{stem}self_attn.{part}", WIDTH, WIDTH)
        made |= numbers.norm(f"{stem}layer_norm1", WIDTH) | numbers.norm(f"{stem}layer_norm2", WIDTH)
        made |= numbers.linear(f"{stem}mlp.fc1", 4 * WIDTH, WIDTH) | numbers.linear(f"{stem}mlp.fc2", WIDTH, 4 * WIDTH)
    return made


def fuse_module(numbers: Numbers, prefix: str, width: int) -> dict[str, torch.Tensor]:
    """The module that fuses tokens into words, PhotoMaker's and ConsistentID's."""
    made = numbers.norm(f"{prefix}layer_norm", width)
    for name, wide in (("mlp1", 2 * width), ("mlp2", width)):
        made |= numbers.norm(f"{prefix}{name}.layernorm", wide)
        made |= numbers.linear(f"{prefix}{name}.fc1", width, wide) | numbers.linear(f"{prefix}{name}.fc2", width, width)
    return made


def photomaker(version: str, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"id_encoder": ..., "lora_weights": ...} for the tiny SDXL; `version` is "v1" or "v2"."""
    numbers, context = Numbers(seed + 80 + (version == "v2")), CONTEXT_DIM["sdxl"]
    encoder = vision_tower(numbers, "vision_model.") | {
        "visual_projection.weight": numbers.matrix(POOLED, WIDTH),
        "visual_projection_2.weight": numbers.matrix(context - POOLED, WIDTH),
    }
    encoder |= fuse_module(numbers, "fuse_module.", context)
    if version == "v2":
        stem = "qformer_perceiver."
        encoder |= numbers.linear(f"{stem}token_proj.0", 64, FACE_DIM)
        encoder |= numbers.linear(f"{stem}token_proj.2", 2 * context, 64) | numbers.norm(f"{stem}token_norm", context)
        stem += "perceiver_resampler."
        encoder |= numbers.linear(f"{stem}proj_in", context, WIDTH)
        encoder |= numbers.linear(f"{stem}proj_out", context, context)
        encoder |= numbers.norm(f"{stem}norm_out", context)
        encoder |= numbers.perceiver_layers(stem, context, QUERY_WIDTH, depth=4)
    return {"id_encoder": encoder, "lora_weights": lora(numbers)}


def lora(numbers: Numbers) -> dict[str, torch.Tensor]:
    """Layers of every attention of SDXL, under diffusers' old names."""
    made = {}
    for path, width in zip(_transformers(), SITE_WIDTHS["sdxl"], strict=True):
        for attention in ("attn1", "attn2"):
            for part in ("q", "k", "v", "out"):
                stem = f"unet.{path}.{attention}.processor.to_{part}_lora"
                from_text = attention == "attn2" and part in "kv"
                made[f"{stem}.down.weight"] = numbers.matrix(RANK, CONTEXT_DIM["sdxl"] if from_text else width)
                made[f"{stem}.up.weight"] = 0.3 * numbers.matrix(width, RANK)
    return made


def in_pefts_wrapper(lora: dict[str, torch.Tensor], wrapper: str) -> dict[str, torch.Tensor]:
    """The LoRA under the names that peft gives it, `wrapper` in front: "base_model.model." and its kin."""
    renamed = {}
    for key, tensor in lora.items():
        key = key.replace("unet.", wrapper).replace(".processor.to_", ".to_").replace("to_out_lora", "to_out.0_lora")
        renamed[key.replace("_lora.down", ".lora_A").replace("_lora.up", ".lora_B")] = tensor
    return renamed


def _transformers():
    blocks = [(f"down_blocks.{block}", 2, depth) for block, depth in ((1, 2), (2, 10))]
    blocks += [(f"up_blocks.{block}", 3, depth) for block, depth in ((0, 10), (1, 2))]
    for block, attentions, depth in [*blocks, ("mid_block", 1, 10)]:
        for attention in range(attentions):
            for index in range(depth):
                yield f"{block}.attentions.{attention}.transformer_blocks.{index}"
