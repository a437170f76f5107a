"""The residual that identity tokens add to a cross-attention site.

`out = attention(q, k_text, v_text) + weight * mask * attention(q, k_id, v_id)`: decoupled cross-attention, as in
IP-Adapter (Ye et al. 2023, equation 5) and InstantID. The weight is folded into V, since the residual is linear in V.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def identity_residual(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention of q [B,N,C] to identity keys and values [chunks,T,C]; returns [B,N,C].

    The batch consists of equal chunks, each with keys of its own. All pictures of a chunk share them, so a chunk is one
    long row of queries and nothing is copied. `bias` [chunks,B*N/chunks,T] is on the logits.
    """
    queries = q.reshape(k.shape[0], -1, q.shape[-1])
    queries, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (queries, k, v))
    bias = None if bias is None else bias.to(q.dtype).unsqueeze(1)
    return F.scaled_dot_product_attention(queries, k, v, attn_mask=bias).transpose(1, 2).reshape(q.shape)


def chunks_of(bank: torch.Tensor, cond_or_uncond: Sequence[int]) -> torch.Tensor:
    """Conditional and unconditional values in the order of a batch's chunks -> [chunks,T,C].

    bank [3,T,C] holds unconditional, conditional, unconditional: whichever way a conditional and an unconditional chunk
    are ordered, their values are a view of the bank. `cond_or_uncond` has 0 (conditional) or 1 per chunk, as ComfyUI
    gives it. A bank [1,T,C] is of an adapter that only conditional chunks come to: they are one long chunk.
    """
    if len(bank) == 1:
        return bank
    start = {(0, 1): 1, (1, 0): 0, (0,): 1, (1,): 0}.get(tuple(cond_or_uncond))
    if start is not None:
        return bank[start : start + len(cond_or_uncond)]
    return torch.cat([bank[1 - kind : 2 - kind] for kind in cond_or_uncond])


def token_mask(mask: torch.Tensor, height: int, width: int, frames: Sequence[int]) -> torch.Tensor:
    """Resize a mask batch [M,H,W] to a site's token grid -> [len(frames),height*width,1].

    `frames`: the number of the picture in each row. Picture 0 has mask 0; a shorter mask batch is cycled.
    """
    grid = (
        F.interpolate(mask.unsqueeze(1), size=(height, width), mode="bilinear", align_corners=False)
        .flatten(2)
        .transpose(1, 2)
    )
    index = [frame % mask.shape[0] for frame in frames]
    return grid if index == list(range(mask.shape[0])) else grid[index]
