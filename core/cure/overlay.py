"""Showing where a cure worked: its masks laid over the pictures."""

import torch

COLOUR = (0.0, 1.0, 0.0)  # hair, skin and make-up hardly ever have it


def draw_masks(images: torch.Tensor, masks: torch.Tensor, opacity: float) -> torch.Tensor:
    """Copies of images [B,H,W,3] in 0..1 under COLOUR, whose share is `opacity` times the masks [B,H,W] in 0..1."""
    return torch.lerp(images, images.new_tensor(COLOUR), (masks * opacity).unsqueeze(-1))
