"""MASKs as they come over a wire."""

import math

import torch

_BEYOND = 0.5


def as_masks(mask: torch.Tensor, name: str) -> torch.Tensor:
    """A MASK as [M,H,W] in 0..1; `name` is the input's, for the sentence about what is not a mask.

    Values a little beyond, as blurring and resizing leave them, are put on 0 and 1.
    """
    wrong = _wrong_with(mask)
    if wrong is not None:
        raise ValueError(f"The {name} {wrong}; connect one as Load Image (as Mask) gives it.")
    return mask.float().reshape(-1, *mask.shape[-2:]).clamp(0, 1)


def _wrong_with(mask):
    if mask.ndim not in (2, 3) or not mask.numel():
        return f"must be a MASK [batch, height, width], but this one has the shape {list(mask.shape)}"
    if not mask.is_floating_point() and mask.dtype != torch.bool:
        return f"holds whole numbers ({str(mask.dtype).removeprefix('torch.')}), but a MASK's values go from 0.0 to 1.0"
    low, high = (float(value) for value in mask.float().aminmax())  # host read: once, when the node runs
    if not (math.isfinite(low) and math.isfinite(high)):
        return "holds values that are not numbers (NaN or infinite)"
    if low < -_BEYOND or high > 1 + _BEYOND:
        return f"has values from {low:g} to {high:g}, but a MASK's go from 0 (black) to 1 (white)"
    return None


def with_outside(mask: torch.Tensor, outside: float) -> torch.Tensor:
    """A mask in 0..1 that leaves a share `outside` 0..1 where it was black: outside + (1 - outside) * mask.

    0 gives the mask and 1 all ones, exactly.
    """
    return torch.lerp(mask, torch.ones_like(mask), outside)
