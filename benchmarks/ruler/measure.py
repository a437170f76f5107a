"""The instruments on generated pictures: the pack's face encoder, and the judge, which is independent of it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from facelets import judge
from facelets.pack import module

from .task import Person


def as_image(picture: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] -> IMAGE [1, H, W, 3]."""
    return torch.from_numpy(picture)[None].float() / 255


class Found(NamedTuple):
    """The largest face of a picture: landmarks [5, 2] and a vector of length 1."""

    landmarks: np.ndarray
    vector: torch.Tensor


class Instruments:
    """Reads pictures, and compares faces with the references of all people, {number: person}."""

    def __init__(self, encoder, people: dict[int, Person], judge_weights: Path = judge.WEIGHTS):
        self._encoder = encoder
        self._judge = judge.load_judge(judge_weights)
        references = {number: self.faces(as_image(whom.reference.image))[0] for number, whom in people.items()}
        # a reference in which no face is found is like nobody
        self._references = {
            number: torch.zeros(1) if face is None else face.vector for number, face in references.items()
        }

    def faces(self, images: torch.Tensor) -> list[Found | None]:
        """The largest face of each picture of IMAGE [B, H, W, 3]."""
        if self._encoder is None:
            return [None] * len(images)
        detection = module("core.host.faces.detection")
        faces = detection.choose_faces(self._encoder, images, "largest", "0", "passthrough")
        vectors = iter(F.normalize(self._encoder.embed(images, faces).cpu(), dim=1))
        landmarks = iter(faces.landmarks.cpu().numpy())
        return [Found(next(landmarks), next(vectors)) if count else None for count in faces.counts]

    def cosines(self, person: int, face: Found | None) -> tuple[float | None, tuple[float, ...]]:
        """Cosine to the own reference, and to those of all others."""
        if face is None:
            return None, ()
        cosines = {number: float((face.vector * vector).sum()) for number, vector in self._references.items()}
        return cosines.pop(person), tuple(cosines.values())

    def read(self, images: torch.Tensor) -> judge.Reading:
        return judge.read(self._judge, images)


def distance(landmarks: np.ndarray, wanted: np.ndarray) -> float:
    """Mean distance in pixels of five landmarks [5, 2]."""
    return float(np.linalg.norm(landmarks - wanted, axis=1).mean())


def trait_correlation(read: np.ndarray, true: np.ndarray) -> float:
    """Pearson's correlation over one person's traits: 1 is the person, 0 anybody."""
    return float(np.corrcoef(read, true)[0, 1])
