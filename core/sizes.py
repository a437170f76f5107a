"""Sizes of pictures, from the shapes of what holds them."""

from collections.abc import Sequence


def height_width(shape: Sequence[int]) -> tuple[int, int]:
    """(height, width), the last two sizes of a shape [...,H,W]."""
    height, width = shape[-2:]
    return height, width
