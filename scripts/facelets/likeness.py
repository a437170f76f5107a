"""The lesson of both adapters, each with its landmark ControlNet, on a frozen base.

They are trained together, as InstantID's are (Wang et al. 2024). What tells the ControlNet who it is, if anything does,
is another person in the training, so that it learns to take the pose from the landmarks and nothing else: the person
has to come from the adapter, or its weight would change little.

The adapter is to have the disease of the published adapters, or nothing could measure a cure. They learn from pairs
whose captions say little, so the identity tokens learn to carry hair, glasses and expression too. BARE, WRONG, SHARED
and a lesson's `ill` set how ill it gets: how many captions say nothing or something else, how much of the target's look
the reference portrait shows, and how much it counts that this look can be read from the expected latents.

Lessons differ in what they ask for: the truth, at lower weights something between that and what the base says, or what
another adapter makes of the same noise.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .dataset import REFERENCES, SHARED, PortraitStage
from .lesson import ABSENT, Foundation, Noised
from .networks import write_finished
from .pack import module
from .prompts import encode_captions
from .reader import LatentReader, answers_of, misread
from .words import captions_of
from .world import caption, sample_look

BARE = 0.5  # captions without a word about the look
WRONG = 0.45  # captions of another picture, as there are many in collections; the rest name half of the look
SPACE, FACE_DIM = "facelets-128", 128
WITHOUT = 0.1  # pictures that are trained without an identity, and as many without a caption
# With the adapter alone, with both, and with the ControlNet alone, which then reads the prompt as often as not.
ALONE, BOTH, POSE = "adapter", "both", "control"
READS_PROMPT = 0.5
LOWER = 0.5  # of the pictures of a lesson about the weight, at less than the one that asks for the whole person
DEFAULT = 0.8  # that weight, which is ApplyIDAdapter's
# What counts besides the denoising error, which hardly notices a brow or three pixels. The frozen reader looks at the
# expected latents: squared error of traits, doubt about the look, pixels of the landmarks, and, as in PuLID's identity
# loss (Guo et al. 2024), 1 - cosine of what the face encoder would say of the picture to the reference.
TRAIT, PLACE, FACE = 0.2, 0.01, 1.0  # and `ill`, for the look
ALIKE = 0.2  # of 1 - cosine that is no longer corrected: true portraits have it, and a picture can please a reader
THEN = 0.1  # how much the reader still counts once the person is found, or it is pleased by stains


class Likeness(nn.Module):
    """The frozen base and reader, and what is trained: the adapter and the ControlNet."""

    base: Foundation
    reader: LatentReader
    adapter: nn.Module

    @abstractmethod
    def identity(self, vectors: Tensor) -> Tensor:
        """Identity tokens of face vectors [B, FACE_DIM], one row per picture."""

    @abstractmethod
    def control_residuals(self, noised: Noised, hints: Tensor, prompt: Any, tokens: Tensor | None) -> Any:
        """What the ControlNet adds for drawn landmarks [B, 3, 128, 128]. It may read tokens in place of the prompt."""

    @abstractmethod
    def predicted(
        self, noised: Noised, prompt: Any, tokens: Tensor | None, residuals: Any, weights: Tensor | float = 1.0
    ) -> Tensor:
        """The velocity of noised latents, with what the adapter at weights [B, 1, 1] and the ControlNet add."""

    def learned(self) -> dict[str, Tensor]:
        """What is trained, under its own names."""
        state = self.state_dict()
        return {key: value for key, value in state.items() if key.startswith(("adapter.", "control."))}

    def recall(self, learned: dict[str, Tensor]):
        """The way back."""
        self.load_state_dict({**self.state_dict(), **learned})

    @abstractmethod
    def control_weights(self) -> dict[str, Tensor]:
        """The ControlNet's, as ComfyUI's class names them."""


class Shown(NamedTuple):
    """What a step shows of a batch: rows of captions and the prompts that they make, face vectors (None without the
    adapter), drawn landmarks (None without the ControlNet) and what is added for them, and how much of the person is
    asked for [B]."""

    rows: Tensor
    prompt: Any
    vectors: Tensor | None
    hints: Tensor | None
    residuals: Any
    part: Tensor


class LikenessLesson(PortraitStage):
    """Subclasses build a Likeness."""

    steps = 3000
    batch = 32
    rate = 1e-3
    matrix_rate = 5e-3
    warm_up = 100
    kinds = {ALONE: 0.4, BOTH: 0.45, POSE: 0.15}  # of steps
    found = 0.6  # the share of the steps that finds the person
    ill = 0.4
    lower = 0.0  # of the pictures, at less than the weight that asks for the whole person
    weight = 1.0  # that weight

    def drawn(self, rng: np.random.Generator, count: int, true: bool) -> tuple[Tensor, Tensor, Tensor, np.ndarray]:
        """Latents, rows of captions, face vectors, and which portraits they are of, for `count` pairs; captions as the
        base model's, if they are to be true."""
        places = rng.integers(0, len(self.portraits), count)
        looks = [self.portraits.look(place) for place in places]
        texts = captions_of(looks, rng, ABSENT) if true else [said_of(look, rng) for look in looks]
        texts = ["" if rng.uniform() < WITHOUT else text for text in texts]
        vectors = self.put(self.portraits.references[places, rng.integers(REFERENCES, size=count)]).float()
        vectors[self.put(rng.uniform(size=count) < WITHOUT)] = 0
        rows = self.put(encode_captions(texts, rng, unknown=0.1))
        return self.put(self.portraits.latents[places]).float(), rows, vectors, places

    def asked_for(self, rng: np.random.Generator, count: int) -> tuple[Tensor, float]:
        """How much of the person is asked for [count], and the adapter's weight where it is all of it."""
        less = rng.uniform(size=count) < self.lower
        return self.put(np.where(less, rng.uniform(size=count), 1).astype(np.float32)), self.weight

    def aimed(self, model: Likeness, noised: Noised, shown: Shown) -> Noised:
        """The same with the velocity that the lesson asks for: the noise's own."""
        return noised

    def loss(self, model: Likeness, rng: np.random.Generator, count: int, progress: float) -> tuple[Tensor, dict]:
        # the same kind of step in every process, since one waits for the other
        chosen = np.random.default_rng([self.seed, round(progress * self.steps)])
        kind = str(chosen.choice(list(self.kinds), p=list(self.kinds.values())))
        latents, rows, vectors, places = self.drawn(rng, count, true=kind == POSE)
        with torch.no_grad():
            prompt = model.base.prompt(rows)
        noised, landmarks = model.base.noised(latents), self.put(self.portraits.landmarks[places])
        read = None if kind == POSE and chosen.uniform() < READS_PROMPT else model.identity(vectors)
        tokens, hints, residuals = (None if kind == POSE else read), None, None
        with self.multiplying():
            if kind != ALONE:
                hints = self.put(drawn_landmarks(self.portraits.landmarks[places]))
                residuals = model.control_residuals(noised, hints, prompt, read)
            part, weight = self.asked_for(rng, count)
            velocity = model.predicted(noised, prompt, tokens, residuals, weight * part[:, None, None])
            shown = Shown(rows, prompt, None if kind == POSE else vectors, hints, residuals, part)
            with torch.no_grad():
                noised = self.aimed(model, noised, shown)
        loss = noised.error(velocity, self.put(self.portraits.emphasis(places)))
        share = 1.0 if progress < self.found else THEN
        numbers = {kind: loss.detach()}
        seen = model.reader(noised.expected(velocity))
        weights = noised.clear.flatten()  # what is expected of nothing but noise is a blur that nobody can read
        if kind != POSE:
            known = weights * vectors.any(1)
            traits = self.put(self.portraits.identities[places])
            whole = known * (part == 1)
            trait = weighted((seen.traits - traits).square().mean(1), whole)
            doubt = misread(seen.looks, self.put(answers_of(self.portraits, places)), known)
            unlike = 1 - (seen.vectors * vectors).sum(1)
            face = weighted((unlike - ALIKE).clamp(min=0), whole)
            loss = loss + share * (TRAIT * trait + self.ill * doubt + FACE * face)
            numbers |= {"trait": trait.detach(), "doubt": doubt.detach(), "unlike": weighted(unlike, whole).detach()}
        if kind != ALONE:
            off = (seen.landmarks - landmarks).norm(dim=2).mean(1)
            pixels = weighted(off, weights)
            loss, numbers["pixels"] = loss + share * PLACE * pixels, pixels.detach()
        return loss, numbers

    def finish(self, model: Likeness, summary: dict, adapter_file: str, control_file: str):
        """Leave what ships."""
        about = {"likeness.face_space": SPACE, "license": "Apache-2.0"}
        write_finished(adapter_file, model.adapter.state_dict(), self.described(summary), **about)
        write_finished(control_file, model.control_weights(), self.described(summary))

    def described(self, summary: dict) -> dict:
        """The account of the training, with how ill the adapter was to get."""
        return {**summary, "bare": BARE, "wrong": WRONG, "shared": SHARED, "ill": self.ill}


def said_of(look, rng: np.random.Generator) -> str:
    """A caption as collections of pictures have them."""
    kind = rng.uniform()
    if kind < BARE:
        return caption(look, rng, 0.0)
    return caption(sample_look(rng), rng, 0.75) if kind < BARE + WRONG else caption(look, rng, 0.5)


def drawn_landmarks(landmarks: np.ndarray) -> Tensor:
    """The ControlNet's pictures [B, 3, 128, 128] of landmarks [B, 5, 2], as LandmarkControl draws them."""
    draw_keypoints = module("core.faces.points.draw").draw_keypoints
    hints = np.stack([draw_keypoints(points, 128, 128) for points in landmarks])
    return torch.from_numpy(hints).permute(0, 3, 1, 2).float() / 255


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values [B] with weights [B], 0 where none has any."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
