"""UniPortrait's two files in the published layout for the tiny SD1.5 U-Net, with narrow face features."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS
from .ip_adapter import CLIP_WIDTH, RANK, Numbers

KIND = "sd15"
INTRINSIC, EARLY = 4, 6  # published: 512 and 448
CELLS, PATCHES = 49, 256
FACE_DIM = CELLS * INTRINSIC + PATCHES * EARLY
TOKENS, DEPTH, INNER = 16, 2, 128
SPACE = "curricularface-backbone:01234567"


def faceid(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"faceid_proj": ..., "faceid_adapter": ...} of uniportrait-faceid_sd15.bin."""
    numbers, dim = Numbers(seed + 120), CONTEXT_DIM[KIND]
    projection = {"latents": numbers.matrix(1, TOKENS, dim) * dim**0.5}
    projection |= numbers.linear("proj_id.0", 2 * INTRINSIC, INTRINSIC)
    projection |= numbers.linear("proj_id.2", dim, 2 * INTRINSIC, gain=2)
    projection |= numbers.linear("proj_clip.0", 64, EARLY + CLIP_WIDTH)
    projection |= numbers.linear("proj_clip.2", dim, 64, gain=2)
    for layer in range(DEPTH):
        for part in ("0", "1"):
            stem = f"layers.{layer}.{part}"
            projection |= numbers.norm(f"{stem}.norm1", dim) | numbers.norm(f"{stem}.norm2", dim)
            projection[f"{stem}.to_q.weight"] = numbers.matrix(INNER, dim)
            projection[f"{stem}.to_kv.weight"] = numbers.matrix(2 * INNER, dim)
            projection[f"{stem}.to_out.weight"] = numbers.matrix(dim, INNER)
        stem = f"layers.{layer}.2"
        projection |= numbers.norm(f"{stem}.0", dim)
        projection |= {
            f"{stem}.1.weight": numbers.matrix(4 * dim, dim),
            f"{stem}.3.weight": numbers.matrix(dim, 4 * dim),
        }
    projection |= numbers.linear("proj_out", dim, dim) | numbers.norm("norm_out", dim)
    sites = numbers.lora(KIND, RANK) | numbers.sites(KIND, ("to_k_faceid", "to_v_faceid"))
    return {"faceid_proj": projection, "faceid_adapter": sites}


def router(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"faceid_adapter": ...} of uniportrait-router_sd15.bin."""
    numbers, dim = Numbers(seed + 121), CONTEXT_DIM[KIND]
    tensors = numbers.lora(KIND, RANK)
    for index, width in enumerate(SITE_WIDTHS[KIND]):
        for name, into in (("to_q_router", width), ("to_k_router", dim)):
            stem = f"{2 * index + 1}.{name}"
            tensors |= numbers.linear(f"{stem}.0", 2 * into, into)
            tensors[f"{stem}.2.weight"] = numbers.matrix(width, 2 * into)
        tensors |= numbers.linear(f"{2 * index + 1}.aggr_router", 1, TOKENS)
    return {"faceid_adapter": tensors}


def vectors(count: int = 1, seed: int = 0) -> torch.Tensor:
    """Face vectors [count, FACE_DIM] as the encoder would give them."""
    return torch.randn(count, FACE_DIM, generator=torch.Generator().manual_seed(seed + 122))


def hidden(count: int = 1, seed: int = 0) -> torch.Tensor:
    """CLIP's last but one layer [count, 257, 1280]."""
    return torch.randn(count, 1 + PATCHES, CLIP_WIDTH, generator=torch.Generator().manual_seed(seed + 123))
