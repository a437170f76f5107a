"""Predictions of one step mixed under a mask: `personal` with the identity, `bare` without.

With x = x0 + sigma * eps, a predicted picture D and a predicted noise eps = (x - D) / sigma say the same. On flow
models, x = (1 - sigma) * x0 + sigma * eps, the same quotient is the predicted velocity.
"""

import torch


def add_response(personal: torch.Tensor, response: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`personal + mask * response` of predicted pictures [B,C,H,W]; mask [B,1,H,W].

    Where the response is what parts the bare prediction from the unconditional one, this is guidance by two conditions
    (Liu et al. 2022, arXiv 2206.01714); where it is what some words of the prompt change, semantic guidance (Brack et
    al. 2023, arXiv 2301.12247).
    """
    return personal + mask.to(response) * response


def blend_denoised(personal: torch.Tensor, bare: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`(1 - mask) * personal + mask * bare` of predicted pictures [B,C,H,W] of one latent; mask [B,1,H,W]."""
    return torch.lerp(personal, bare, mask.to(personal))


def blend_noise(
    x: torch.Tensor, personal: torch.Tensor, x_bare: torch.Tensor, bare: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Blend the predicted noises, each of its own latent, and return the predicted picture of latent `x`.

    On flow models it is the velocities that are blended: blended noise is another picture there, and none at sigma 1.
    `D = x - ((1 - mask) * (x - personal) + mask * (x_bare - bare))`: sigma cancels out. Where both stand on one latent
    this is `blend_denoised`.
    """
    return torch.lerp(personal, x - x_bare + bare, mask.to(personal))
