"""MASKs as they come over a wire."""

import torch


def as_masks(mask: torch.Tensor, name: str) -> torch.Tensor:
    """A MASK as [M,H,W] in 0..1; `name` is the input's, for the sentence about what is not a mask."""
    mask = mask.float()
    if mask.ndim not in (2, 3):
        raise ValueError(
            f"The {name} must be a MASK [batch, height, width], but this one has the shape {list(mask.shape)}; "
            "connect one as Load Image (as Mask) gives it."
        )
    return mask.reshape(-1, *mask.shape[-2:]).clamp(0, 1)


def gated(mask: torch.Tensor, outside: float) -> torch.Tensor:
    """A mask in 0..1 that leaves a share `outside` 0..1 where it was black: outside + (1 - outside) * mask.

    0 gives the mask and 1 all ones, exactly.
    """
    return torch.lerp(mask, torch.ones_like(mask), outside)
