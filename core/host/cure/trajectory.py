"""A latent of its own for what the model draws without identity, beside the sampler's."""

import torch

from ...cure.inversion import euler_step
from ..sampling.run import Run


class OwnTrajectory:
    """Starts at the first latent that the sampler shows and takes Euler steps along the sampler's noise levels.

    Where an inpainting mask `denoise_mask` [B,1,H,W] keeps the picture, it keeps it too.
    """

    def __init__(self, run: Run):
        self.denoise_mask = None
        self._run = run
        self._latent = self._predicted = self._sigmas = self._level = None

    def follow(self, x: torch.Tensor, sigmas: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The latent at this noise level, beside the sampler's x, and its prediction if that is known already."""
        if self._latent is None:
            self._latent = x.clone()
        else:
            level = self._run.sigma(sigmas)  # host read: second-order samplers come back to a level, at no price
            if level == self._level:
                return self._latent, self._predicted
            self._latent = euler_step(self._latent, self._predicted, self._sigmas, _column(sigmas))
            if self.denoise_mask is not None:
                self._latent = torch.lerp(x, self._latent, self.denoise_mask)
        return self._latent, None

    def predicted(self, denoised: torch.Tensor, sigmas: torch.Tensor):
        """Keep the prediction at this level for the step to the next."""
        self._predicted, self._sigmas, self._level = denoised, _column(sigmas), self._run.sigma(sigmas)


def _column(sigmas):
    return sigmas.view(-1, 1, 1, 1)
