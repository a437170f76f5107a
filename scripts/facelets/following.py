"""The generator's last lesson: to follow the prompt in small things too.

A mouth is two places of the latents' 16 x 16, so a denoising error hardly notices whether it laughs. In this lesson the
latents that the prediction means are read by a frozen reader as well, and what the caption names has to be read from
them, as reward models are used to tune text-to-image models on single steps (Xu et al. 2023).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dataset import Portraits
from .face_pictures import NOT_SHOWN
from .generator import Base, Generator, trained_generator
from .prompts import said
from .reader import answers_of, trained_reader
from .world import LOOKS

WEIGHT = 0.04  # of what is read, against the denoising error
SURE = 0.1  # nats of doubt that are no longer corrected: a picture can please a reader without looking any better
ABSENT = 0.4  # how often captions say "no hat" or "without glasses", which the first lesson heard too seldom to learn


class Lesson(nn.Module):
    """The generator, and the frozen reader of its latents."""

    def __init__(self, generator: Generator):
        super().__init__()
        self.generator = generator.train().requires_grad_(True)
        self.reader = trained_reader()


def named_answers(answers: Tensor, texts: list[str]) -> Tensor:
    """Answers [B, len(LOOKS)] with NOT_SHOWN wherever the caption is silent."""
    spoken = [said(text) for text in texts]
    return torch.where(torch.tensor([[name in words for name in LOOKS] for words in spoken]), answers, NOT_SHOWN)


def misread(logits: list[Tensor], answers: Tensor, weights: Tensor) -> Tensor:
    """Mean doubt over SURE about what is named; weights [B] of the pictures."""
    doubts = torch.stack([F.cross_entropy(part, answer, ignore_index=NOT_SHOWN, reduction="none")
                          for part, answer in zip(logits, answers.T, strict=True)], 1)  # fmt: skip
    asked = (answers != NOT_SHOWN) * weights[:, None]
    return ((doubts - SURE).clamp(min=0) * asked).sum() / asked.sum().clamp(min=1)


class Following(Base):
    name = "following"
    seed = 22
    steps = 4200
    rate = 6e-4
    warm_up = 50
    average = 0.9985

    def build(self):
        self.portraits = Portraits()
        return Lesson(trained_generator())

    def loss(self, model, rng, count, progress):
        latents, context, texts, places = self.drawn(model.generator, rng, count, ABSENT)
        noised = model.generator.noised(latents)
        with self.multiplying():
            velocity = model.generator.velocity(noised, context)
        denoising = noised.error(velocity, self.put(self.portraits.emphasis(places)))
        answers = self.put(named_answers(answers_of(self.portraits, places), texts))
        # what is expected of nothing but noise is a blur that nobody can read
        doubt = misread(model.reader(noised.expected(velocity)).looks, answers, noised.level.flatten().sqrt())
        return denoising + WEIGHT * doubt, {"denoising": denoising.detach(), "doubt": doubt.detach()}

    def export(self, model, summary):
        super().export(model.generator, summary)
