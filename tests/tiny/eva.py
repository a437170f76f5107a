"""A narrow EVA02-CLIP-L-14-336 in the published layout: `visual.*`, and a text tower that nobody reads."""

import torch

from .pulid import Random

WIDTH, HIDDEN, DEPTH = 64, 16, 22
FULL = 1024, 2730, 24


def eva(width: int = WIDTH, hidden: int = HIDDEN, depth: int = DEPTH, seed: int = 0) -> dict[str, torch.Tensor]:
    """Tensors of the file; random rotary tables, as nothing may depend on them."""
    random = Random(seed + 6)
    tensors = {"cls_token": random.randn(1, 1, width), "pos_embed": random.randn(1, 577, width)}
    tensors |= {
        "patch_embed.proj.weight": random.randn(width, 3, 14, 14) / 24,
        "patch_embed.proj.bias": random.randn(width),
    }
    for number in range(depth):
        key = f"blocks.{number}"
        tensors |= random.norm(f"{key}.norm1", width) | random.norm(f"{key}.norm2", width)
        tensors |= {f"{key}.attn.q_bias": 0.1 * random.randn(width), f"{key}.attn.v_bias": 0.1 * random.randn(width)}
        for layer in ("q_proj", "k_proj", "v_proj"):
            tensors |= random.linear(f"{key}.attn.{layer}", width, width, bias=False)
        tensors |= random.norm(f"{key}.attn.inner_attn_ln", width) | random.linear(f"{key}.attn.proj", width, width)
        for layer in ("w1", "w2"):
            tensors |= random.linear(f"{key}.mlp.{layer}", hidden, width)
        tensors |= random.norm(f"{key}.mlp.ffn_ln", hidden) | random.linear(f"{key}.mlp.w3", width, hidden)
        tensors |= {f"{key}.attn.rope.freqs_{part}": random.randn(576, 64) for part in ("cos", "sin")}
    tensors |= random.norm("norm", width) | random.linear("head", 768, width)
    tensors |= {f"rope.freqs_{part}": random.randn(576, 64) for part in ("cos", "sin")}
    visual = {f"visual.{key}": tensor for key, tensor in tensors.items()}
    return visual | {"logit_scale": torch.ones(()), "text.positional_embedding": random.randn(77, 8)}
