"""A SigLIP of a published width and picture, or a narrow one, of one layer, in the layout of the published files."""

import torch

from .pulid import Random

# width, patch, side
SIZES = {"siglip-b256": (768, 16, 256), "siglip-so400m": (1152, 14, 384), "narrow": (64, 16, 64)}
INNER = 32


def siglip(name: str, seed: int = 0, layers: int = 1, inner: int = INNER) -> dict[str, torch.Tensor]:
    """Tensors of the file: both halves, of which the text's is a token of the real one."""
    random, (width, patch, side) = Random(seed + 8), SIZES[name]
    tensors = {
        "embeddings.patch_embedding.weight": random.randn(width, 3, patch, patch) / (3 * patch**2) ** 0.5,
        "embeddings.patch_embedding.bias": 0.05 * random.randn(width),
        "embeddings.position_embedding.weight": 0.2 * random.randn((side // patch) ** 2, width),
    }
    for number in range(layers):
        key = f"encoder.layers.{number}"
        for layer in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors |= random.linear(f"{key}.self_attn.{layer}", width, width)
        for layer in ("layer_norm1", "layer_norm2"):
            tensors |= random.norm(f"{key}.{layer}", width)
        tensors |= _mlp(random, key, width, inner)
    tensors |= random.norm("post_layernorm", width) | {"head.probe": random.randn(1, 1, width)}
    tensors |= {"head.attention.in_proj_weight": random.matrix(3 * width, width),
                "head.attention.in_proj_bias": 0.05 * random.randn(3 * width)}  # fmt: skip
    tensors |= random.linear("head.attention.out_proj", width, width) | random.norm("head.layernorm", width)
    tensors |= _mlp(random, "head", width, inner)
    vision = {f"vision_model.{key}": tensor for key, tensor in tensors.items()}
    return vision | {"logit_scale": torch.ones(1), "text_model.head.bias": random.randn(width)}


def _mlp(random, key, width, inner):
    return random.linear(f"{key}.mlp.fc1", inner, width) | random.linear(f"{key}.mlp.fc2", width, inner)
