"""What a prompt can say about a portrait, and no identity may fix."""

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

LOOKS = {
    "hair_color": ("black", "brown", "blond", "red", "grey", "blue", "green", "pink"),
    "hair_length": ("bald", "short", "shoulder-length", "long"),
    "hair_curl": ("straight", "curly"),
    "hat": ("none", "hat", "beanie"),
    "hat_color": ("red", "blue", "green", "black"),
    "glasses": ("none", "glasses", "sunglasses"),
    "facial_hair": ("none", "beard", "moustache"),
    "earrings": ("none", "earrings"),
    "eye_color": ("brown", "blue", "green"),
    "expression": ("neutral", "smiling", "laughing", "sad", "surprised"),
    "background": ("white", "yellow", "teal", "purple", "orange", "navy"),
    "style": ("flat", "ink", "pastel"),
}
_ODDS = {
    "hair_length": (0.07, 0.31, 0.31, 0.31),
    "hat": (0.6, 0.22, 0.18),
    "glasses": (0.54, 0.26, 0.2),
    "facial_hair": (0.64, 0.2, 0.16),
    "earrings": (0.72, 0.28),
    "style": (0.5, 0.25, 0.25),
}
_BOUNDS = {name: list(accumulate(odds[:-1])) for name, odds in _ODDS.items()}


@dataclass(frozen=True)
class Look:
    """One word for each key of LOOKS; hair_color also colours brows and facial hair of the bald, hat_color says nothing
    without a hat. parting (-1..1, the side) and clothes (0..1, a muted tone) are never named."""

    hair_color: str
    hair_length: str
    hair_curl: str
    hat: str
    hat_color: str
    glasses: str
    facial_hair: str
    earrings: str
    eye_color: str
    expression: str
    background: str
    style: str
    parting: float = 0.3
    clothes: float = 0.5

    def says(self, attribute: str) -> bool:
        """Whether the picture shows a value of this attribute at all: no hair colour on a bald head, no eye colour
        behind sunglasses."""
        if attribute in ("hair_color", "hair_curl"):
            return self.hair_length != "bald"
        if attribute == "hat_color":
            return self.hat != "none"
        if attribute == "eye_color":
            return self.glasses != "sunglasses"
        return True


def sample_look(rng: np.random.Generator) -> Look:
    """A look with every attribute drawn independently."""
    words = {}
    for (name, values), draw in zip(LOOKS.items(), rng.uniform(size=len(LOOKS)), strict=True):
        bounds = _BOUNDS.get(name)
        words[name] = values[int(draw * len(values)) if bounds is None else bisect(bounds, draw)]
    return Look(**words, parting=rng.uniform(-1, 1), clothes=rng.uniform())
