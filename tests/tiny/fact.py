"""A tiny FaceChain-FACT adapter in the published layout, with random weights."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS
from .ip_adapter import Numbers

PATCHES, WIDTH = 144, 16  # 512 as published
FACE_DIM = PATCHES * WIDTH
# diffusers' names of SD1.5's blocks with cross-attentions, in the order down, up, middle
BLOCKS = (
    *(f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)),
    *(f"up_blocks.{i}.attentions.{j}" for i in (1, 2, 3) for j in range(3)),
    "mid_block.attentions.0",
)


def fact(seed: int = 0, seen: int = WIDTH) -> dict[str, torch.Tensor]:
    """The flat file for the tiny SD1.5, for patches of `seen` numbers.

    The projection's attention (64) is narrower than itself (80).
    """
    numbers, context = Numbers(seed + 70), CONTEXT_DIM["sd15"]
    projection = {"latents": numbers.matrix(1, 16, 80) * 9} | numbers.linear("proj_in", 80, seen)
    projection |= numbers.perceiver_layers("", 80, 64, depth=2)
    projection |= numbers.linear("proj_out", context, 80) | numbers.norm("norm_out", context)
    tensors = {f"local_fac_prj.{key}": tensor for key, tensor in projection.items()}
    for block, width in zip(BLOCKS, SITE_WIDTHS["sd15"], strict=True):
        gate = numbers.linear("linear", width, context) | numbers.linear("attn.to_out.0", width, width)
        gate |= {f"attn.to_{part}.weight": numbers.matrix(width, width) for part in "qkv"}
        gate |= numbers.linear("ff.net.0.proj", 8 * width, width) | numbers.linear("ff.net.2", width, 4 * width)
        gate |= numbers.norm("norm1", width) | numbers.norm("norm2", width)
        gate |= {"alpha_attn": torch.tensor(0.8), "alpha_dense": torch.tensor(-0.4)}
        stem = f"{block}.transformer_blocks.0.attn2.processor"
        tensors |= {f"{stem}.{key}": tensor for key, tensor in gate.items()}
    return tensors


def nested(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """The same by the first word of the keys: {"local_fac_prj": ..., "down_blocks": ...}."""
    tops = {}
    for key, tensor in fact(seed).items():
        top, _, rest = key.partition(".")
        tops.setdefault(top, {})[rest] = tensor
    return tops
