"""The decoder's last lesson: latents as a generator leaves them.

What a sampler leaves is off by three times the noise that the decoder has learned to bear, and not by noise: lines and
colours are a little wrong. So it learns to draw the portrait that was meant from what the generator expects at low
noise, and from the portrait's own latents as before. The encoder stays, and all that was made with it.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .autoencoder import NOISE, Decoder, encode, pictures_of, with_decoder_alone
from .generator import trained_generator
from .lesson import ABSENT
from .prompts import encode_captions
from .words import captions_of
from .world import draw, sample_identity, sample_look, sample_pose

TIMES = (10, 180)  # of the noise, out of 1000


class Finishing(nn.Module):
    """The autoencoder, whose decoder is trained, and the frozen generator."""

    def __init__(self):
        super().__init__()
        self.autoencoder, self.generator = with_decoder_alone(Decoder.file), trained_generator()

    @torch.no_grad()
    def expected(self, latents: Tensor, times: Tensor, rows: Tensor) -> Tensor:
        """What the generator expects of latents [B, 16, 16, 16] that are noised to times [B], under their captions."""
        noised = self.generator.noised_to(latents, times)
        velocity = self.generator.velocity(noised, self.generator.prompt(rows))
        return noised.expected(velocity)


class Finish(Decoder):
    name = "finish"
    seed = 9
    steps = 2000
    batch = 32
    file = "vae"

    def build(self):
        return Finishing()

    def is_matrix(self, name):
        return super().is_matrix(name.removeprefix("autoencoder."))

    def loss(self, model, rng, count, progress):
        looks = [sample_look(rng) for _ in range(count)]
        portraits = [draw(sample_identity(rng), look, sample_pose(rng), labelled=True) for look in looks]
        images = pictures_of(portraits)
        weights = torch.from_numpy(self._of_regions[np.stack([portrait.labels for portrait in portraits])])[:, None]
        half = count // 2
        rows = self.put(encode_captions(captions_of(looks[:half], rng, ABSENT), rng))
        with torch.no_grad(), self.multiplying():
            latents = encode(model.autoencoder, self.put(images)).float()
            times = self.put(rng.integers(*TIMES, half))
            latents[:half] = model.expected(latents[:half], times, rows)
        noise = self.put(rng.uniform(0, NOISE, (count, 1, 1, 1))).float()
        return self._decoded(model.autoencoder, self.put(images).float() / 255, self.put(weights), latents, noise)

    def export(self, model, summary):
        super().export(model.autoencoder, summary)
