"""Pure residual functions that attention patches add."""

from .decoupled import chunks_of, identity_residual, token_mask
from .extra_keys import extra_key_attention, toward_mean
from .routing import shares

__all__ = ["chunks_of", "extra_key_attention", "identity_residual", "shares", "token_mask", "toward_mean"]
