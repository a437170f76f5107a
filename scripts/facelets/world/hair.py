"""Hair and hats."""

import numpy as np

from .canvas import Canvas
from .face import Face
from .identity import Identity
from .look import Look
from .palette import Palette

_CURLS = 15  # bumps along the outline of curly hair
# Where ringlets are drawn in curly hair, in widths and heights of the head.
_RINGLETS = ((-0.5, -0.86), (-0.18, -1.0), (0.18, -0.98), (0.5, -0.84), (-0.02, -0.78), (0.36, -0.68), (-0.4, -0.7))


class Hair:
    """Draws hair in three layers (behind, beside and over the face), and the hat over it."""

    def __init__(self, identity: Identity, look: Look, colors: Palette, canvas: Canvas, face: Face):
        self.look, self.colors, self.canvas, self.face = look, colors, canvas, face
        self.curly = look.hair_curl == "curly"
        self.hidden = look.hat != "none"
        self.volume = (0.1 if self.hidden else 0.2) if self.curly else 0.09
        self.line = -0.58 * face.height + 0.1 * identity.hairline

    def _wave(self, points: np.ndarray, bumps: int, size: float) -> np.ndarray:
        """Points pushed outwards in bumps, if the hair is curly."""
        if not self.curly:
            return points
        along = np.linspace(0, bumps * np.pi, len(points))
        outwards = points - (0, 0.1)
        outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
        return points + outwards * (np.abs(np.sin(along)) * size)[:, None]

    def _dome(self, start: float, count: int) -> np.ndarray:
        """The outer edge over the skull, from right to left, `start` radians below the height of the ears."""
        angles = np.linspace(start, -np.pi - start, count)
        grow = 1 + self.volume
        dome = np.stack([np.cos(angles) * self.face.width * (grow + 0.02), np.sin(angles) * self.face.height * grow], 1)
        return self._wave(dome, _CURLS, 0.07)

    def _sides(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Right edge [14, 2] and left edge of hanging hair, both from the top down, and how far down they reach."""
        low = 0.95 if self.look.hair_length == "shoulder-length" else 1.75
        wide = self.face.width * (1.08 + self.volume) + 0.04
        right = np.linspace((wide, -0.2), (wide + 0.06 * low, low), 14)
        bumps = 4 if low < 1 else 6
        return self._wave(right, bumps, 0.09), self._wave(right * (-1, 1), bumps, 0.09), low

    def behind(self, region: int):
        """What hangs behind the neck."""
        if self.look.hair_length not in ("shoulder-length", "long"):
            return
        right, left, low = self._sides()
        angles = np.linspace(0, -np.pi, 13)[1:-1]
        top = np.stack([np.cos(angles) * right[0, 0], -0.2 + np.sin(angles) * self.face.height * 0.8], 1)
        self.canvas.fill(
            np.concatenate([right[::-1], top, left, [(0, low + 0.1)]]), self.colors.hair_dark, region, -0.2
        )

    def locks(self, region: int):
        """What hangs beside the face, over the shoulders."""
        if self.look.hair_length not in ("shoulder-length", "long"):
            return
        right, left, low = self._sides()
        for side, edge in ((1, right), (-1, left)):
            inner = np.linspace((side * self.face.width * 0.66, low + 0.02), (side * self.face.width * 0.8, -0.2), 6)
            self.canvas.fill(np.concatenate([edge, inner]), self.colors.hair, region, -0.1)

    def front(self, region: int):
        if self.look.hair_length == "bald":
            return
        dome = self._dome(0.12, 45)
        part = 0.42 * self.look.parting
        edge = self.face.width * 0.97
        line = self.line
        left = np.array([(-edge, 0.06), (-edge * 0.93, -0.22), (-edge * 0.78, line + 0.16), (-edge * 0.4, line + 0.06)])
        right = left[::-1] * (-1, 1)
        # the parting: hair falls from it to both sides
        top = np.array([(part - 0.12, line - 0.04), (part, line - 0.16), (part + 0.12, line - 0.04)])
        hairline = np.concatenate([left, top, right])
        if self.curly:
            fringe = np.interp(np.linspace(0, 1, 36), np.linspace(0, 1, len(hairline)), hairline[:, 0])
            drop = np.interp(np.linspace(0, 1, 36), np.linspace(0, 1, len(hairline)), hairline[:, 1])
            drop = drop + 0.05 * np.abs(np.sin(np.linspace(0, 7 * np.pi, 36)))
            hairline = np.stack([fringe, drop], 1)
        self.canvas.fill(np.concatenate([dome, hairline]), self.colors.hair, region, 0.02)
        if self.hidden:
            return
        if self.curly:
            for x, y in _RINGLETS:
                at = np.array((x * self.face.width, y * self.face.height))
                arc = [at + 0.1 * np.array((np.cos(t), np.sin(t))) for t in np.linspace(-2.6, 1.2, 8)]
                self.canvas.stroke(arc, self.colors.hair_dark, 0.04, region, 0.05)
            return
        shine = np.stack([np.cos(np.linspace(-2.35, -1.75, 8)) * self.face.width * 0.86,
                          np.sin(np.linspace(-2.35, -1.75, 8)) * self.face.height * 0.93], 1)  # fmt: skip
        self.canvas.stroke(shine, self.colors.hair_light, 0.08, region, 0.05)
        for x in (-0.55, 0.55):
            strand = [
                (part + 0.05 * np.sign(x), line - 0.18),
                (part * 0.5 + x * 0.6, line - 0.16),
                (x * 1.05, line + 0.02),
            ]
            self.canvas.stroke(strand, self.colors.hair_dark, 0.03, region, 0.05)

    def hat(self, region: int):
        look, colors, canvas, face = self.look, self.colors, self.canvas, self.face
        if look.hat == "none":
            return
        wide = face.width * 1.14
        brow = -0.52 * face.height
        if look.hat == "beanie":
            angles = np.linspace(0, -np.pi, 25)
            dome = np.stack([np.cos(angles) * wide, brow + np.sin(angles) * (face.height * 0.86)], 1)
            canvas.fill(dome, colors.hat, region, 0.02)
            canvas.fill(_bar(wide * 1.05, brow - 0.13, brow + 0.13), colors.hat_dark, region, 0.04)
            low, tip = brow - face.height * 0.9, brow - face.height * 1.06
            canvas.fill(np.array([(-0.15, low), (0, tip), (0.15, low)]), colors.hat_dark, region, 0.02)
            return
        top = brow - face.height * 0.82
        crown = np.array([(-wide * 0.92, brow), (-wide * 0.82, top + 0.12), (-wide * 0.62, top), (wide * 0.62, top),
                          (wide * 0.82, top + 0.12), (wide * 0.92, brow)])  # fmt: skip
        canvas.fill(crown, colors.hat, region, 0.02)
        canvas.fill(_bar(wide * 0.915, brow - 0.26, brow - 0.06), colors.hat_dark, region, 0.03)
        brim = np.stack([np.cos(np.linspace(0, 2 * np.pi, 36)) * wide * 1.5,
                         brow + 0.02 + np.sin(np.linspace(0, 2 * np.pi, 36)) * 0.11], 1)  # fmt: skip
        canvas.fill(brim, colors.hat, region, 0.04)


def _bar(wide: float, top: float, bottom: float) -> np.ndarray:
    """A band around the head: its edges bend a little downwards at the sides."""
    x = np.linspace(-1, 1, 11)
    bend = 0.05 * (1 - x * x)
    upper = np.stack([x * wide, top + bend], 1)
    return np.concatenate([upper, np.stack([x[::-1] * wide, bottom + bend], 1)])
