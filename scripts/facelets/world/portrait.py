"""The picture: a drawn portrait of an identity with a look in a pose."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import hair
from .canvas import Canvas
from .face import Face
from .identity import Identity
from .look import Look
from .palette import BACKGROUNDS, Palette
from .pose import Pose

# What a label stands for; each names the part of the picture that an attribute shows in.
REGIONS = (
    "background", "clothes", "skin", "hair", "brows", "eyes", "mouth", "facial_hair", "glasses", "hat", "earrings",
)  # fmt: skip
(BACKGROUND, CLOTHES, SKIN, HAIR, BROWS, EYES, MOUTH, FACIAL_HAIR, GLASSES, HAT, EARRINGS) = range(len(REGIONS))


@dataclass(frozen=True)
class Portrait:
    """image: uint8 [size, size, 3] RGB. landmarks: float32 [5, 2] in pixels, pixel centres at whole numbers, in the
    order of core.faces.found.Landmark. labels: uint8 [size, size], an index into REGIONS for what is visible there, or
    None if not asked for."""

    image: np.ndarray
    landmarks: np.ndarray
    labels: np.ndarray | None

    def region(self, name: str) -> np.ndarray:
        """Boolean [size, size]: where this region is visible."""
        return self.labels == REGIONS.index(name)


@lru_cache(maxsize=64)
def _backdrop(color: tuple, side: int) -> np.ndarray:
    """A background that is a little lighter behind the head."""
    down, across = np.mgrid[0:side, 0:side] / (side - 1) - 0.5
    glow = np.exp(-(across**2 + (down + 0.05) ** 2) / 0.18)[..., None]
    color = np.array(color, np.float64)
    return np.clip(color * (0.9 + 0.13 * glow), 0, 255).astype(np.uint8)


def draw(identity: Identity, look: Look, pose: Pose, size: int = 128, labelled: bool = False) -> Portrait:
    """A portrait of size x size pixels; the same arguments give the same bytes."""
    colors = Palette(identity, look)
    outline = colors.ink if look.style == "ink" else None
    backdrop = _backdrop(colors.background(BACKGROUNDS[look.background]), 2 * size)
    canvas = Canvas(backdrop, pose, size, outline, labelled)
    face = Face(identity, look, colors, canvas)
    style = hair.Hair(identity, look, colors, canvas, face)

    style.behind(HAIR)
    face.neck_and_clothes(CLOTHES, SKIN)
    style.locks(HAIR)
    face.ears(SKIN)
    face.head(SKIN)
    face.marks(SKIN)
    face.nose(SKIN)
    face.facial_hair(FACIAL_HAIR)
    face.mouth(MOUTH)
    face.eyes(EYES)
    face.brows(BROWS)
    style.front(HAIR)
    face.earrings(EARRINGS)
    face.glasses(GLASSES)
    style.hat(HAT)

    image = cv2.resize(canvas.picture, (size, size), interpolation=cv2.INTER_AREA)
    labels = None if canvas.labels is None else canvas.labels[1::2, 1::2].copy()
    landmarks = np.concatenate([canvas.place(points, depth) for points, depth in face.landmarks()]) / 2 - 0.5
    return Portrait(image, landmarks.astype(np.float32), labels)
