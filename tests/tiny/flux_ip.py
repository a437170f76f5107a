"""Tiny IP-Adapters for FLUX in the published layouts, with random weights."""

import torch

from .ip_adapter import Numbers

TEXT, WIDTH, DOUBLE, BLOCKS = 32, 64, 19, 57  # numbers of a token, of a site; blocks of FLUX
CLIP, SIGLIP = 768, 1152  # numbers of an embedding


def xlabs(tokens: int = 4, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"ip_adapter_proj_model", "double_blocks"}; the first has 4 tokens, the second 16."""
    numbers, blocks = Numbers(seed + 31), {}
    for number in range(DOUBLE):
        for part in "kv":
            blocks |= numbers.linear(f"{number}.processor.ip_adapter_double_stream_{part}_proj", WIDTH, TEXT)
    projection = numbers.linear("proj", tokens * TEXT, CLIP) | numbers.norm("norm", TEXT)
    return {"ip_adapter_proj_model": projection, "double_blocks": blocks}


def instantx(seed: int = 0, tokens: int = 8) -> dict[str, dict[str, torch.Tensor]]:
    """{"image_proj", "ip_adapter"}."""
    numbers = Numbers(seed + 32)
    projection = numbers.linear("proj.0", 96, SIGLIP) | numbers.linear("proj.2", tokens * TEXT, 96)
    blocks = {f"{number}.to_{part}_ip.weight": numbers.matrix(WIDTH, TEXT) for number in range(BLOCKS) for part in "kv"}
    return {"image_proj": projection | numbers.norm("norm", TEXT), "ip_adapter": blocks}
