"""Two predictions of one step, mixed under a mask.

With x = x0 + sigma * eps, a predicted picture D and a predicted noise eps = (x - D) / sigma say the same.
"""

import torch


def blend_denoised(personal: torch.Tensor, foundation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(1 - mask) * personal + mask * foundation` of predicted pictures [B,C,H,W]; mask [B,1,H,W]."""
    return torch.lerp(personal, foundation, mask.to(personal))


def add_response(personal: torch.Tensor, response: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """`personal + sum over attributes of mask * response`: pictures [B,C,H,W], [B,A,C,H,W], masks [B,A,H,W]."""
    return personal + (masks.unsqueeze(2).to(response) * response).sum(dim=1)


def blend_noise(
    x: torch.Tensor, personal: torch.Tensor, x_foundation: torch.Tensor, foundation: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Blend the predicted noises, each of its own latent, and return the predicted picture of latent `x`.

    `D = x - ((1 - mask) * (x - personal) + mask * (x_foundation - foundation))`: sigma cancels out. Where both stand on
    one latent this is `blend_denoised`.
    """
    return torch.lerp(personal, x - x_foundation + foundation, mask.to(personal))
