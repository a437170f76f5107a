"""Attention in which some queries see the keys of another stream too, each with a bias of its own.

`softmax([q k_own | q k_extra + bias]) [v_own ; v_extra]`: a bias of -inf takes a key away, 0 is plain concatenation,
and log(s) multiplies a key's odds by s. FreeCure's self-attention and Infinite-ID's mixed attention are both this.
"""

import torch
import torch.nn.functional as F


def extra_key_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    k_extra: torch.Tensor,
    v_extra: torch.Tensor,
    bias: torch.Tensor | None,
    heads: int,
) -> torch.Tensor:
    """Attention of q [B,N,C] to k, v [B,M,C] and to k_extra, v_extra [B,E,C] with bias [B,E] or none -> [B,N,C]."""
    keys, values = torch.cat([k, k_extra], dim=1), torch.cat([v, v_extra], dim=1)
    if bias is not None:
        bias = F.pad(bias.to(q.dtype), (k.shape[1], 0))[:, None, None]
    q, keys, values = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, keys, values))
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias).transpose(1, 2).flatten(2)


def toward_mean(own: torch.Tensor, other: torch.Tensor, strength: float) -> torch.Tensor:
    """Move own [B,N,C] so that its mean over the tokens goes a share `strength` of the way to that of other [B,M,C].

    At 1 this is AdaIN without its scale, as Infinite-ID (Wu et al. 2024) has it for stylised prompts.
    """
    return own + strength * (other.mean(1, keepdim=True) - own.mean(1, keepdim=True))
