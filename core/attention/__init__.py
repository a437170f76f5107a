"""Pure residual functions that attention patches add."""

from .decoupled import chunks_of, identity_residual, token_mask
from .extra_keys import extra_key_attention, extra_key_heads, toward_mean, toward_mean_rotated
from .routing import shares

__all__ = [
    "chunks_of",
    "extra_key_attention",
    "extra_key_heads",
    "identity_residual",
    "shares",
    "token_mask",
    "toward_mean",
    "toward_mean_rotated",
]
