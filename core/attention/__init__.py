"""Pure residual functions that attention patches add."""

from .identity import chunks_of, identity_residual, token_mask
from .weight_types import WEIGHT_TYPES, block_factors

__all__ = ["WEIGHT_TYPES", "block_factors", "chunks_of", "identity_residual", "token_mask"]
