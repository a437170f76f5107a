"""A latent of its own for what the model draws without identity, beside the sampler's."""

import torch

from ...cure.inversion import euler_step
from ..sampling.run import Run


class OwnTrajectory:
    """Starts at the first latent that the sampler shows and takes Euler steps along the sampler's noise levels.

    Where an inpainting mask `denoise_mask` [B,1,H,W] keeps the picture, it keeps it too.
    """

    def __init__(self, run: Run):
        self.denoise_mask: torch.Tensor | None = None
        self._run = run
        self._latent: torch.Tensor | None = None
        # The prediction there, and the noise level as a column and as a number.
        self._last: tuple[torch.Tensor, torch.Tensor, float] | None = None

    def follow(self, x: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The latent at this noise level, beside the sampler's x, and its prediction if that is known already."""
        if self._latent is None or self._last is None:
            self._latent = x.clone()
            return self._latent, None
        denoised, before, level = self._last
        if self._run.sigma(sigmas) == level:  # host read: second-order samplers come back to a level, at no price
            return self._latent, denoised
        self._latent = euler_step(self._latent, denoised, before, _column(sigmas, x))
        if self.denoise_mask is not None:
            self._latent = torch.lerp(x, self._latent, self.denoise_mask)
        return self._latent, None

    def predicted(self, denoised: torch.Tensor, sigmas: torch.Tensor):
        """Keep the prediction at this level for the step to the next."""
        self._last = denoised, _column(sigmas, denoised), self._run.sigma(sigmas)


def _column(sigmas, like):
    """Noise levels [B] for latents [B,...] of any shape."""
    return sigmas.view(-1, *(1,) * (like.ndim - 1))
