"""Deterministic inversion: from a picture back up to a noise level, so that Euler's steps down lead to the picture.

In sigma space (k-diffusion): a step from (x_b, b) down to a is `x_a = D + a / b * (x_b - D)`, D = denoise(x_b, b). To
invert it is to solve for x_b; the fixed point `x_b = x_a + (b - a) / b * (x_b - D)` converges where the step is small
against how fast D changes. Its first iterate, with D taken at x_a, is DDIM inversion (Song et al. 2020).
"""

from collections.abc import Callable

import torch

Level = torch.Tensor | float  # a noise level
Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def euler_step(x: torch.Tensor, denoised: torch.Tensor, sigma: Level, sigma_next: Level) -> torch.Tensor:
    """One step of the probability flow from noise level `sigma` to `sigma_next`; down or up."""
    return denoised + (sigma_next / sigma) * (x - denoised)


def invert_step(
    denoise: Denoise, x: torch.Tensor, sigma: torch.Tensor, sigma_up: torch.Tensor, refine: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """x at `sigma` -> (x at `sigma_up`, the predicted picture), with `refine` + 1 calls of `denoise(x, sigma)`."""
    up = x
    for _ in range(refine + 1):
        denoised = denoise(up, sigma_up)
        up = x + (sigma_up - sigma) / sigma_up * (up - denoised)
    return up, denoised


def steps_of_depth(sigmas: torch.Tensor, depth: float) -> torch.Tensor:
    """The last `depth` (0..1) of a schedule [steps + 1] that falls to 0; at least one step of it."""
    steps = len(sigmas) - 1
    return sigmas[steps - min(steps, max(1, round(depth * steps))) :]
