"""A tiny MasterWeaver adapter for SD1.5 in the published layout, with random weights."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS
from .pulid import Random

SEEN_DIM, INNER = 32, 64


def masterweaver(seed: int = 0, seen_dim: int = SEEN_DIM) -> dict[str, dict[str, torch.Tensor]]:
    """{"id_encoder": a resampler of one layer and a last attention, "adapter_modules": K and V of each site}."""
    random, context = Random(seed + 7), CONTEXT_DIM["sd15"]
    encoder = {"latents": random.randn(1, 16, context)} | random.linear("proj_in", context, seen_dim)
    encoder |= random.attention("layers.0.0", context, INNER) | random.feed_forward("layers.0.1", context)
    encoder |= random.linear("proj_out", context, context) | random.norm("norm_out", context)
    encoder |= random.attention("final_attn", context, INNER)
    modules = {}
    for number, width in enumerate(SITE_WIDTHS["sd15"]):
        for layer in ("to_k_img", "to_v_img"):
            modules |= random.linear(f"{2 * number + 1}.{layer}", width, context, bias=False)
    return {"id_encoder": encoder, "adapter_modules": modules}
