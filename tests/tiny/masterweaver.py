"""A tiny MasterWeaver adapter for SD1.5 in the published layout, with random weights."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS
from .pulid import Random

SEEN_DIM, INNER = 32, 64
PUBLISHED = {"context": 768, "seen_dim": 1024, "inner": 768}
PUBLISHED_SITES = [320] * 2 + [640] * 2 + [1280] * 2 + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]


def masterweaver(
    seed: int = 0, context=CONTEXT_DIM["sd15"], seen_dim=SEEN_DIM, inner=INNER, sites=SITE_WIDTHS["sd15"], device="cpu"
) -> dict[str, dict[str, torch.Tensor]]:
    """{"id_encoder": a resampler of one layer and a last attention, "adapter_modules": K and V of each site}."""
    random = Random(seed + 7, device)
    encoder = {"latents": random.randn(1, 16, context)} | random.linear("proj_in", context, seen_dim)
    encoder |= random.attention("layers.0.0", context, inner) | random.feed_forward("layers.0.1", context)
    encoder |= random.linear("proj_out", context, context) | random.norm("norm_out", context)
    encoder |= random.attention("final_attn", context, inner)
    modules = {}
    for number, width in enumerate(sites):
        for layer in ("to_k_img", "to_v_img"):
            modules |= random.linear(f"{2 * number + 1}.{layer}", width, context, bias=False)
    return {"id_encoder": encoder, "adapter_modules": modules}
