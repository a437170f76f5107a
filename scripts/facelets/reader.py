"""What latents show, read without drawing them: a teacher of the generators and of the adapter.

A mouth is two places of the latents' 16 x 16, so a denoising error hardly notices whether it laughs. The latents that a
prediction means are therefore read by this frozen reader as well, and what the caption names has to be read from them,
as reward models are used to tune text-to-image models on single steps (Xu et al. 2023).

It says of latents what the judge says of pictures, but has nothing in common with it: who taught a generator must not
judge it.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .dataset import Portraits, PortraitStage
from .face_pictures import NOT_SHOWN
from .networks import CHANNELS, read_finished
from .pack import file_of
from .prompts import said
from .training import initialise
from .world import LOOKS, TRAITS

SURE = 0.1  # nats of doubt that are no longer corrected: a picture can please a reader without looking any better
NOISE = 0.6  # at most, on what it reads: what a generator expects is never quite a portrait


class _Block(nn.Module):
    def __init__(self, wide: int):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(8, wide), nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


class Seen(NamedTuple):
    """Logits [B, values] for each attribute of LOOKS, traits [B, len(TRAITS)], landmarks [B, 5, 2] in pixels of 128,
    vectors [B, 128] of length 1: what the face encoder would say of the picture."""

    looks: list[Tensor]
    traits: Tensor
    landmarks: Tensor
    vectors: Tensor


class LatentReader(nn.Module):
    """latents [B, 16, 16, 16] of deviation 1 -> Seen."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, 48, 3, padding=1), _Block(48),
            nn.Conv2d(48, 96, 3, stride=2, padding=1), _Block(96), _Block(96),
            nn.Conv2d(96, 128, 3, stride=2, padding=1), _Block(128), nn.GroupNorm(8, 128), nn.SiLU(),
        )  # fmt: skip
        self.grid = nn.Conv2d(128, 48, 1)  # where it is, at 4 x 4 places
        self.joined = nn.Linear(48 * 4 * 4 + 128, 192)
        self.looks = nn.Linear(192, sum(len(values) for values in LOOKS.values()))
        self.traits = nn.Linear(192, len(TRAITS))
        self.landmarks = nn.Linear(192, 5 * 2)
        self.vectors = nn.Linear(192, 128)

    def forward(self, latents: Tensor) -> Seen:
        seen = self.layers(latents)
        joined = F.silu(self.joined(torch.cat([self.grid(seen).flatten(1), seen.mean((2, 3))], 1)))
        looks = self.looks(joined).split([len(values) for values in LOOKS.values()], 1)
        landmarks = 63.5 + 64 * self.landmarks(joined).unflatten(1, (5, 2))
        return Seen(looks, self.traits(joined), landmarks, F.normalize(self.vectors(joined), dim=1))


def answers_of(portraits: Portraits, places: np.ndarray) -> Tensor:
    """[B, len(LOOKS)] places in LOOKS' values, NOT_SHOWN where the picture shows none."""
    answers = torch.from_numpy(portraits.looks[places].astype(np.int64))
    for row, place in zip(answers, places, strict=True):
        look = portraits.look(place)
        for column, name in enumerate(LOOKS):
            if not look.says(name):
                row[column] = NOT_SHOWN
    return answers


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


def trained_reader() -> LatentReader:
    """The reader as its stage left it, frozen."""
    reader = LatentReader()
    reader.load_state_dict(read_finished("reader"))
    return reader.eval().requires_grad_(False)


class Reading(PortraitStage):
    name = "reader"
    seed = 41
    steps = 7000
    batch = 64
    rate = 2e-3
    warm_up = 100
    average = 0.995
    decay = 0.05

    def build(self):
        reader = LatentReader()
        initialise(reader)
        return reader

    def loss(self, model, rng, count, progress):
        places = rng.integers(0, len(self.portraits), count)
        answers = self.put(answers_of(self.portraits, places))
        latents = self.put(self.portraits.latents[places]).float()
        level = NOISE * self.put(rng.uniform(size=(count, 1, 1, 1))).float()
        seen = model(latents + level * torch.randn_like(latents))
        pairs = list(zip(seen.looks, answers.T, strict=True))
        look = sum(F.cross_entropy(*pair, ignore_index=NOT_SHOWN) for pair in pairs) / len(pairs)
        trait = F.mse_loss(seen.traits, self.put(self.portraits.identities[places]))
        off = seen.landmarks - self.put(self.portraits.landmarks[places])
        point = F.smooth_l1_loss(off, torch.zeros_like(off))
        unlike = 1 - (seen.vectors * self.put(self.portraits.vectors[places]).float()).sum(1).mean()
        right = [(part.argmax(1) == answer)[answer != NOT_SHOWN].float().mean() for part, answer in pairs]
        numbers = {
            "trait": trait,
            "pixels": off.norm(dim=2).mean(),
            "unlike": unlike,
            **dict(zip(LOOKS, right, strict=True)),
        }
        return look + 2 * trait + 0.05 * point + unlike, {name: value.detach() for name, value in numbers.items()}

    def export(self, model, summary):
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file_of("reader"))
