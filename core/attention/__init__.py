"""Pure residual functions that attention patches add."""

from .identity import identity_residual, rows_of, token_mask
from .weight_types import WEIGHT_TYPES, block_factors

__all__ = ["WEIGHT_TYPES", "block_factors", "identity_residual", "rows_of", "token_mask"]
