"""The lesson of both base models: to predict what portraits are under noise, and to follow the caption in it."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from .dataset import PortraitStage
from .prompts import encode_captions
from .reader import answers_of, misread, named_answers, trained_reader
from .words import captions_of

READ = 0.04  # weight of what is read, against the denoising error
ABSENT = 0.3  # how often captions say "no hat" or "without glasses"
EMPTY = 0.1  # captions that say nothing at all


class Noised(NamedTuple):
    """Noisy latents at times [B], and the velocity to be predicted. `clear`: the picture's share in them, 0..1. The
    picture itself is kept * latents - spread * velocity. These three are [B, 1, 1, 1]."""

    latents: Tensor
    times: Tensor
    clear: Tensor
    kept: Tensor
    spread: Tensor
    velocity: Tensor

    def expected(self, velocity: Tensor) -> Tensor:
        """The picture's latents that a predicted velocity means."""
        return self.kept * self.latents - self.spread * velocity

    def error(self, velocity: Tensor, emphasis: Tensor) -> Tensor:
        """Mean square of what a predicted velocity is off by, places weighted by emphasis [B, 1, 16, 16]."""
        return ((velocity - self.velocity).square() * emphasis).mean()


class Foundation(nn.Module):
    """A base model with its text encoder."""

    @abstractmethod
    def noised(self, latents: Tensor) -> Noised:
        """Latents [B, 16, 16, 16] of deviation 1 at random times."""

    @abstractmethod
    def prompt(self, rows: Tensor) -> Any:
        """What it makes of captions, [B, 77] rows of the text encoder's table."""

    @abstractmethod
    def velocity(self, noised: Noised, prompt: Any, residuals: Any = None) -> Tensor:
        """[B, 16, 16, 16]: what is predicted at noised latents, with what a ControlNet adds."""


class Taught(nn.Module):
    """A base model that is trained, with the frozen reader of its latents."""

    def __init__(self, base: Foundation):
        super().__init__()
        self.base, self.reader = base, trained_reader()


class Lesson(PortraitStage):
    """Subclasses build a Taught."""

    def aimed(self, model: Taught, noised: Noised, rows: Tensor) -> Noised:
        """The same with the velocity that the lesson asks for: the noise's own."""
        return noised

    def loss(self, model: Taught, rng: np.random.Generator, count: int, progress: float) -> tuple[Tensor, dict]:
        places = rng.integers(0, len(self.portraits), count)
        texts = captions_of([self.portraits.look(place) for place in places], rng, ABSENT)
        texts = ["" if rng.uniform() < EMPTY else text for text in texts]
        noised = model.base.noised(self.put(self.portraits.latents[places]).float())
        rows = self.put(encode_captions(texts, rng, unknown=0.15))
        with self.multiplying():
            velocity = model.base.velocity(noised, model.base.prompt(rows))
            noised = self.aimed(model, noised, rows)
        denoising = noised.error(velocity, self.put(self.portraits.emphasis(places)))
        answers = self.put(named_answers(answers_of(self.portraits, places), texts))
        # what is expected of nothing but noise is a blur that nobody can read
        doubt = misread(model.reader(noised.expected(velocity)).looks, answers, noised.clear.flatten())
        return denoising + READ * doubt, {"denoising": denoising.detach(), "doubt": doubt.detach()}
