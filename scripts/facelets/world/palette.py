"""Colours, and what a drawing style does to them."""

import numpy as np

from .identity import Identity
from .look import Look

HAIR = {
    "black": (38, 34, 40), "brown": (112, 72, 44), "blond": (238, 204, 112), "red": (200, 74, 34),
    "grey": (164, 166, 172), "blue": (56, 112, 214), "green": (66, 164, 82), "pink": (242, 138, 186),
}  # fmt: skip
BACKGROUNDS = {
    "white": (246, 246, 244), "yellow": (250, 222, 116), "teal": (52, 168, 166), "purple": (140, 98, 190),
    "orange": (246, 156, 76), "navy": (38, 52, 104),
}  # fmt: skip
HATS = {"red": (206, 44, 52), "blue": (40, 84, 196), "green": (34, 128, 74), "black": (44, 44, 52)}
IRISES = {"brown": (104, 62, 30), "blue": (46, 116, 214), "green": (52, 150, 74)}
# Skin from fair over brown to deep: a straight line between the ends would be grey in the middle.
_SKIN = np.array(((252, 226, 202), (232, 176, 130), (164, 104, 68), (92, 56, 40)), np.float64)

_PAPER = (0.32 * 255, 0.32 * 246, 0.32 * 236)


class Palette:
    """Colours of one portrait as tuples that OpenCV takes."""

    def __init__(self, identity: Identity, look: Look):
        self.pastel = look.style == "pastel"
        depth = identity.skin_depth * 0.5 + 0.5
        skin = np.array([np.interp(depth * 3, range(4), channel) for channel in _SKIN.T])
        skin = np.clip(skin + np.array((7, -5, -16)) * identity.skin_warmth, 0, 255)
        self.skin = self(skin)
        self.shade = self(skin * 0.84)
        self.deep_shade = self(skin * 0.7)
        self.blush = self(skin * 0.72 + np.array((230, 90, 90)) * 0.28)
        self.freckle = self(skin * 0.66)
        hair = np.array(HAIR[look.hair_color], np.float64)
        self.hair = self(hair)
        self.hair_dark = self(hair * 0.72)
        self.hair_light = self(hair * 0.78 + 255 * 0.22)
        self.brow = self(hair * 0.62)
        self.iris = self(IRISES[look.eye_color])
        self.pupil = self((18, 16, 20))
        self.white = self((250, 250, 248))
        red = 0.5 + 0.5 * identity.lip_redness
        lip = skin * (0.62 - 0.2 * red) + np.array((196, 44, 66)) * (0.3 + 0.28 * red)
        self.lip = self(lip)
        self.mouth = self((96, 22, 32))
        self.hat = self(HATS[look.hat_color])
        self.hat_dark = self(np.array(HATS[look.hat_color]) * 0.72)
        self.frame = self((30, 30, 36))
        self.lens = self((24, 26, 34))
        self.gold = self((244, 196, 48))
        tone = 0.45 + 0.4 * look.clothes
        self.clothes = self(np.array((200, 204, 216)) * tone)
        self.collar = self(np.array((200, 204, 216)) * tone * 0.82)
        self.ink = (26, 24, 30)

    def __call__(self, color) -> tuple:
        if self.pastel:
            return tuple(min(max(0.68 * value + white, 0.0), 255.0) for value, white in zip(color, _PAPER, strict=True))
        return tuple(min(max(float(value), 0.0), 255.0) for value in color)

    def background(self, color) -> tuple:
        """A background's colour in this style."""
        return self(color)
