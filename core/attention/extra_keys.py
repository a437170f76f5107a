"""Attention in which some queries see the keys of another stream too, each with a bias of its own.

`softmax([q k_own | q k_extra + bias]) [v_own ; v_extra]`: a bias of -inf takes a key away, 0 is plain concatenation,
and log(s) multiplies a key's odds by s. FreeCure's self-attention and Infinite-ID's mixed attention are both this.
"""

import torch
import torch.nn.functional as F

from .rotation import rotated, unrotated


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
    q, k, v, k_extra, v_extra = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v, k_extra, v_extra))
    return extra_key_heads(q, k, v, k_extra, v_extra, bias)


def extra_key_heads(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    k_extra: torch.Tensor,
    v_extra: torch.Tensor,
    bias: torch.Tensor | None,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same of heads, q [B,heads,N,D] and so on, still -> [B,N,C]. A bias [B,M+E] is on all keys.

    `mask`, as SDPA takes it, is on the logits of k: of [N,M], [B,N,M] or [B,heads or 1,N,M].
    """
    logits = None
    if bias is not None:
        without = k.shape[2] + k_extra.shape[2] - bias.shape[-1]
        logits = F.pad(bias.to(q.dtype), (without, 0))[:, None, None]
    if mask is not None:
        mask = mask if mask.ndim != 3 else mask.unsqueeze(1)
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, -torch.inf)
        own = F.pad(mask.to(q.dtype), (0, k_extra.shape[2]))
        logits = own if logits is None else own + logits
    keys, values = torch.cat([k, k_extra], dim=2), torch.cat([v, v_extra], dim=2)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=logits).transpose(1, 2).flatten(2)


def toward_mean(own: torch.Tensor, other: torch.Tensor, strength: float) -> torch.Tensor:
    """Move own [B,N,C] so that its mean over the tokens goes a share `strength` of the way to that of other [B,M,C].

    At 1 this is AdaIN without its scale, as Infinite-ID (Wu et al. 2024) has it for stylised prompts.
    """
    return own + strength * (other.mean(1, keepdim=True) - own.mean(1, keepdim=True))


def toward_mean_rotated(own: torch.Tensor, other: torch.Tensor, strength: float, pe: torch.Tensor) -> torch.Tensor:
    """toward_mean of keys [B,heads,N,D] that the rotation pe [1,1,N,D/2,2,2] of their places has turned.

    What is moved are the keys before it, which say what is there and not where.
    """
    shift = (unrotated(other, pe) - unrotated(own, pe)).mean(2, keepdim=True)
    return own + strength * rotated(shift, pe)
