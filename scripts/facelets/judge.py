"""The judge: reads from a portrait what a prompt can say about it, and the person's traits.

It has nothing in common with the pack's own face encoder, so that it can say whether a person was kept without asking
the encoder that the adapter listens to. It is for measuring only and does not ship in the pack.
"""

import os
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .autoencoder import round_trip
from .dataset import trained_autoencoder
from .face_pictures import NOT_SHOWN
from .networks import cut_out, write_finished
from .pack import BUILD, JUDGE, sized
from .training import Stage, quicken
from .world import LOOKS, TRAITS, draw, sample_identity, sample_look, sample_pose

WEIGHTS = JUDGE
CHIP = 96  # pixels of a face that is cut out, hardly smaller than in its picture
IN_CHIP = ((34.0, 41.0), (62.0, 41.0), (48.0, 55.0), (37.5, 69.0), (58.5, 69.0))  # its landmarks there
MISPLACED = 1.0  # pixels that landmarks are off by in the training


class _Block(nn.Module):
    def __init__(self, wide: int):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(8, wide), nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, x):
        return x + self.conv(F.silu(self.norm(x)))


class _Seeing(nn.Module):
    """pixels [B, 3, S, S] in 0..1 -> [B, out]. Where things are matters as well as what there is: a grid of few
    numbers, and a mean of many."""

    def __init__(self, side: int, widths: tuple[int, ...], grid: int, out: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(12, widths[0], 3, padding=1), _Block(widths[0])]
        for before, wide in pairwise(widths):
            layers += [nn.Conv2d(before, wide, 3, stride=2, padding=1), _Block(wide)]
        self.layers = nn.Sequential(*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU())
        self.grid = nn.Conv2d(widths[-1], grid, 1)
        self.joined = nn.Linear(grid * (side // 2 ** len(widths)) ** 2 + widths[-1], out)

    def forward(self, pixels: Tensor) -> Tensor:
        seen = self.layers(F.pixel_unshuffle(pixels * 2 - 1, 2))
        return F.silu(self.joined(torch.cat([self.grid(seen).flatten(1), seen.mean((2, 3))], 1)))


class Judge(nn.Module):
    """image [B, 128, 128, 3] RGB in 0..1 -> ({attribute: logits [B, values]}, traits [B, len(TRAITS)], landmarks
    [B, 5, 2] in pixels).

    Traits are read from the face cut out by its landmarks, those given (the training's) or its own: a mole is three
    pixels wide, and a jaw's width a few pixels more or less.
    """

    def __init__(self):
        super().__init__()
        self.whole = _Seeing(128, (24, 48, 96, 160), 24, 224)
        self.face = _Seeing(CHIP, (32, 64, 96, 160), 48, 320)
        self.attributes = nn.Linear(224, sum(len(values) for values in LOOKS.values()))
        self.landmarks = nn.Linear(224, 5 * 2)
        self.traits = nn.Linear(320, len(TRAITS))

    def forward(self, image: Tensor, landmarks: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        seen = self.whole(image.movedim(-1, 1))
        found = _pixels(self.landmarks(seen))
        with torch.autocast(image.device.type, enabled=False):  # bfloat16 is a quarter of a pixel off
            chips, _ = cut_out(image, found.detach().float() if landmarks is None else landmarks, IN_CHIP, CHIP)
        return _named(self.attributes(seen)), self.traits(self.face(chips)), found


def _named(logits: Tensor) -> dict[str, Tensor]:
    return dict(zip(LOOKS, logits.split([len(values) for values in LOOKS.values()], 1), strict=True))


def _pixels(places: Tensor) -> Tensor:
    return 63.5 + 64 * places.unflatten(1, (5, 2))


def load_judge(path: Path = WEIGHTS) -> Judge:
    """The trained judge in eval mode, computing in fp32."""
    judge = Judge()
    judge.load_state_dict(load_file(path))
    return judge.eval().requires_grad_(False)


class Reading(NamedTuple):
    """What the judge sees on a batch: {attribute: value} per picture, traits [B, len(TRAITS)], landmarks [B, 5, 2]."""

    looks: list[dict[str, str]]
    traits: Tensor
    landmarks: Tensor


@torch.inference_mode()
def read(judge: nn.Module, images: Tensor) -> Reading:
    """Read IMAGE [B, 128, 128, 3]. A value is given for every attribute, shown or not."""
    looks, traits, landmarks = [], [], []
    for part in images.split(32):
        logits, part_traits, part_landmarks = judge(part)
        best = {name: values.argmax(1).tolist() for name, values in logits.items()}
        looks += [{name: LOOKS[name][best[name][row]] for name in LOOKS} for row in range(len(part))]
        traits.append(part_traits)
        landmarks.append(part_landmarks)
    return Reading(looks, torch.cat(traits), torch.cat(landmarks))


class Samples(NamedTuple):
    """Portraits uint8 [B, 128, 128, 3] and the truth about them: values as indices [B, len(LOOKS)] (NOT_SHOWN where
    the picture shows none), traits [B, len(TRAITS)], landmarks [B, 5, 2]."""

    images: np.ndarray
    answers: np.ndarray
    traits: np.ndarray
    landmarks: np.ndarray


def samples(rng: np.random.Generator, count: int) -> Samples:
    """`count` fresh portraits."""
    drawn = []
    for _ in range(count):
        person, look = sample_identity(rng), sample_look(rng)
        portrait = draw(person, look, sample_pose(rng))
        answers = [words.index(getattr(look, name)) if look.says(name) else NOT_SHOWN for name, words in LOOKS.items()]
        drawn.append((portrait.image, answers, person.vector, portrait.landmarks))
    return Samples(*(np.stack(column) for column in zip(*drawn, strict=True)))


def corrupted(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A portrait as a generator might have drawn it (moved, blurred, tinted, noisy, compressed), and its landmarks."""
    moved, blurred, tinted, noisy, compressed = rng.uniform(size=5)
    if moved < 0.5:
        scale = rng.uniform(0.93, 1.07)
        across, down = rng.uniform(-4, 4, 2) + 63.5 * (1 - scale)
        matrix = np.array([[scale, 0, across], [0, scale, down]])
        image = cv2.warpAffine(image, matrix, (128, 128), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        landmarks = landmarks * scale + matrix[:, 2]
    if blurred < 0.4:
        image = cv2.GaussianBlur(image, (7, 7), rng.uniform(0.3, 1.3))
    if tinted < 0.6 or noisy < 0.4:
        image = image.astype(np.float32)
        if tinted < 0.6:
            image = image * rng.uniform(0.93, 1.07) * rng.uniform(0.97, 1.03, 3) + rng.uniform(-6, 6, 3)
        if noisy < 0.4:
            image = image + rng.normal(0, rng.uniform(1, 10), image.shape)
        image = np.clip(image, 0, 255).astype(np.uint8)
    if compressed < 0.25:
        _, packed = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))))
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image, landmarks


class JudgeTraining(Stage):
    name = "judge"
    seed = 31
    steps = 3500
    batch = 32
    rate = 1e-3
    matrix_rate = 2e-3
    warm_up = 100
    average = 0.995
    drawings_only = 0.4  # part of the steps; then half of the pictures come out of the autoencoder
    pool = sized(3072, 32)  # of these there are so many: a round trip takes six times as long as a drawing

    def build(self):
        judge = Judge()
        quicken(judge)
        return judge

    def is_matrix(self, name):
        return not name.endswith("layers.0.weight") and name.startswith(("whole.", "face."))

    @cached_property
    def _passed(self) -> Samples:
        """Portraits after the autoencoder, half of them with errors like a sampler's in their latents."""
        kept = BUILD / "judge_pool.npz"
        if not kept.exists():
            fresh = samples(np.random.default_rng([self.seed, 1]), self.pool)
            model, generator = trained_autoencoder(), np.random.default_rng([self.seed, 2])
            seen = []
            for part in np.array_split(fresh.images, self.pool // 16):
                level = generator.uniform(0, 0.25, len(part)) * (generator.uniform(size=len(part)) < 0.5)
                seen.append(round_trip(model, part, torch.from_numpy(level).float().view(-1, 1, 1, 1)))
            part = kept.with_name(f"judge_pool_{os.getpid()}.npz")  # the other process makes the same
            np.savez(part, **fresh._replace(images=np.concatenate(seen))._asdict())
            part.replace(kept)
        with np.load(kept) as arrays:
            return Samples(**arrays)

    def _batch(self, rng, count, progress) -> Samples:
        if progress < self.drawings_only:
            batch = samples(rng, count)
        else:
            fresh = samples(rng, count // 2)
            chosen = rng.choice(self.pool, count - count // 2, replace=False)
            pairs = zip(fresh, self._passed, strict=True)
            batch = Samples(*(np.concatenate([drawn, passed[chosen]]) for drawn, passed in pairs))
        pairs = zip(batch.images, batch.landmarks, strict=True)
        images, landmarks = zip(*(corrupted(image, points, rng) for image, points in pairs), strict=True)
        return batch._replace(images=np.stack(images), landmarks=np.stack(landmarks))

    def loss(self, model, rng, count, progress):
        images, answers, traits, landmarks = map(self.put, self._batch(rng, count, progress))
        shown = landmarks.float() + MISPLACED * torch.randn(landmarks.shape, device=self.device)
        with self.multiplying():
            logits, seen_traits, seen_landmarks = model(images.float() / 255, shown)
        words = sum(
            F.cross_entropy(values, answers[:, column], ignore_index=NOT_SHOWN, reduction="sum") / count
            for column, values in enumerate(logits.values())
        )
        trait_error = F.mse_loss(seen_traits, traits)
        pixels = (seen_landmarks - landmarks.float()).norm(dim=-1).mean()
        numbers = {"words": words / len(LOOKS), "traits": trait_error, "pixels": pixels}
        return words + 8 * trait_error + 0.3 * pixels, {name: value.detach() for name, value in numbers.items()}

    def export(self, model, summary):
        write_finished(WEIGHTS.stem, model.state_dict(), summary)
