"""The face: outline, features, marks, and what is worn on it."""

import numpy as np

from .canvas import Canvas, ellipse
from .identity import Identity
from .look import Look
from .palette import Palette

_ANGLES = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_LINE = np.linspace(-1, 1, 13)
# (how far the corners rise, how far the middle falls, width) of the mouth; open mouths are drawn apart
_MOUTHS = {
    "neutral": (0.0, 0.0, 1.0), "smiling": (0.085, 0.085, 1.15), "laughing": (0.1, 0.02, 1.18),
    "sad": (-0.095, -0.07, 0.95), "surprised": (0.0, 0.0, 0.62),
}  # fmt: skip


class Face:
    """Draws one face onto a canvas, part by part, back to front."""

    def __init__(self, identity: Identity, look: Look, colors: Palette, canvas: Canvas):
        self.look, self.colors, self.canvas, self.identity = look, colors, canvas, identity
        it = identity
        self.width = 0.76 + 0.12 * it.face_width
        self.height = 1.0 + 0.09 * it.face_length
        self.jaw = 0.72 + 0.2 * it.jaw_width
        self.eye_x = 0.33 + 0.06 * it.eye_spacing
        self.eye_y = -0.06 + 0.06 * it.eye_height
        self.eye_size = 0.15 + 0.04 * it.eye_size
        openness = 0.66 + 0.18 * it.eye_openness
        self.eye_open = self.eye_size * {"surprised": 1.12, "laughing": 0.5}.get(look.expression, openness)
        self.nose_y = 0.3 + 0.08 * it.nose_length
        self.mouth_y = 0.6 + 0.05 * it.mouth_height
        rise, fall, wide = _MOUTHS[look.expression]
        self.mouth_width = (0.27 + 0.07 * it.mouth_width) * wide
        self.corner_y = self.mouth_y - rise
        self.middle_y = self.mouth_y + fall
        self.lip = 0.05 + 0.025 * it.lip_fullness

    def outline(self, grow: float = 1.0) -> np.ndarray:
        """The head's outline [60, 2], grown by a factor."""
        cos, sin = np.cos(_ANGLES), np.sin(_ANGLES)
        low = np.maximum(sin, 0)
        square = 1 - 0.5 * (0.5 + 0.5 * self.identity.chin_squareness)
        taper = 1 - (1 - self.jaw) * low**2 + 0.07 * self.identity.cheek_fullness * np.sin(np.pi * low)
        across = np.sign(cos) * np.abs(cos) ** np.where(sin > 0, 0.62 + 0.38 * square, 1.0)
        return np.stack([across * self.width * taper, sin * self.height], 1) * grow

    def neck_and_clothes(self, clothes: int, skin: int):
        wide = 0.36 + 0.08 * self.identity.neck_width
        neck = [(-wide, 0.5), (-wide * 1.05, 1.5), (wide * 1.05, 1.5), (wide, 0.5)]
        self.canvas.fill(neck, self.colors.shade, skin, -0.12)
        shoulders = [(-1.75, 3.2), (-1.55, 1.7), (-1.2, 1.4), (-0.46, 1.17), (0, 1.4), (0.46, 1.17), (1.2, 1.4),
                     (1.55, 1.7), (1.75, 3.2)]  # fmt: skip
        self.canvas.fill(shoulders, self.colors.clothes, clothes, -0.1)
        self.canvas.stroke([(-0.46, 1.19), (0, 1.42), (0.46, 1.19)], self.colors.collar, 0.09, None, -0.1)

    def ear_place(self, side: int) -> tuple[float, float]:
        return side * (self.width + 0.02 + 0.05 * self.identity.ear_angle), 0.04

    def ears(self, skin: int):
        size = 0.15 + 0.045 * self.identity.ear_size
        for side in (-1, 1):
            x, y = self.ear_place(side)
            self.canvas.fill(ellipse(x, y, size * 0.72, size * 1.35), self.colors.skin, skin, -0.12)
            self.canvas.fill(ellipse(x, y, size * 0.36, size * 0.8), self.colors.shade, skin, -0.12, False)

    def head(self, skin: int):
        self.canvas.fill(self.outline(), self.colors.skin, skin)

    def marks(self, skin: int):
        it = self.identity
        if it.blush > -0.2:
            for side in (-1, 1):
                size = 0.1 + 0.05 * it.blush
                self.canvas.fill(ellipse(side * 0.44, 0.3, size * 1.25, size), self.colors.blush, skin, 0.28, False)
        if it.freckles > 0.2:
            size = 0.018 + 0.012 * it.freckles
            for x, y in ((-0.5, 0.2), (-0.36, 0.27), (-0.23, 0.2), (0.23, 0.2), (0.36, 0.27), (0.5, 0.2), (-0.42, 0.13),
                         (0.42, 0.13)):  # fmt: skip
                self.canvas.fill(ellipse(x, y, size, size), self.colors.freckle, skin, 0.3, False)
        if it.mole > 0.2:
            place = ellipse(0.46 * it.mole_across, 0.5 + 0.25 * it.mole_down, 0.038, 0.038)
            self.canvas.fill(place, self.colors.pupil, skin, 0.3, False)

    def nose(self, skin: int):
        it = self.identity
        wide = 0.1 + 0.045 * it.nose_width
        tip = self.nose_y
        bridge = 0.045 + 0.03 * it.nose_bridge
        self.canvas.stroke([(bridge, self.eye_y + 0.06), (bridge * 1.5, tip - 0.08), (wide, tip)], self.colors.shade,
                           0.05, None, 0.46)  # fmt: skip
        curve = [(x * wide, tip + 0.045 * (1 - x * x)) for x in _LINE]
        self.canvas.stroke(curve, self.colors.deep_shade, 0.055, None, 0.5)

    def mouth(self, region: int):
        it, colors, canvas = self.identity, self.colors, self.canvas
        wide = self.mouth_width
        if self.look.expression == "surprised":
            canvas.fill(ellipse(0, self.mouth_y + 0.06, wide * 0.72, 0.17), colors.lip, region, 0.34)
            canvas.fill(ellipse(0, self.mouth_y + 0.06, wide * 0.72 - self.lip, 0.17 - self.lip), colors.mouth, region,
                        0.34, False)  # fmt: skip
            return
        curve = self.corner_y + (self.middle_y - self.corner_y) * (1 - _LINE**2)
        if self.look.expression == "laughing":
            top = np.stack([_LINE * wide, curve], 1)
            low = np.stack([_LINE[::-1] * wide, self.corner_y + 0.3 * (1 - _LINE**2) ** 0.8], 1)
            canvas.fill(np.concatenate([top, low]), colors.mouth, region, 0.34)
            teeth = np.stack([_LINE[::-1] * wide * 0.86, curve + 0.09 * (1 - _LINE**2)], 1)
            canvas.fill(np.concatenate([top * (0.9, 1), teeth]), colors.white, region, 0.34, False)
            canvas.stroke(np.concatenate([top, low]), colors.lip, self.lip * 0.9, region, 0.34, True)
            return
        full = self.lip * (1 - _LINE**2)
        lips = np.concatenate([
            np.stack([_LINE * wide, curve - full * 0.9], 1), np.stack([_LINE[::-1] * wide, curve + full * 1.3], 1),
        ])  # fmt: skip
        canvas.fill(lips, colors.lip, region, 0.34, False)
        canvas.stroke(np.stack([_LINE * wide, curve], 1), colors.mouth, 0.035 + 0.012 * it.lip_fullness, region, 0.34)

    def facial_hair(self, region: int):
        if self.look.facial_hair == "none":
            return
        if self.look.facial_hair == "beard":
            outer = self.outline(1.045)
            outer = outer[(outer[:, 1] > 0.12)]
            outer = outer[np.argsort(-outer[:, 0])]
            edge = abs(outer[0, 0])
            inner = [(-edge * 0.8, 0.34), (-self.mouth_width * 1.25, 0.44), (0, 0.47), (self.mouth_width * 1.25, 0.44),
                     (edge * 0.8, 0.34)]  # fmt: skip
            self.canvas.fill(np.concatenate([outer, inner]), self.colors.hair, region, 0.05)
            return
        y = (self.nose_y + self.corner_y) / 2 + 0.04
        wide = self.mouth_width * 1.05
        whiskers = [(-wide, y + 0.08), (-wide * 0.6, y - 0.05), (0, y - 0.03), (wide * 0.6, y - 0.05), (wide, y + 0.08),
                    (wide * 0.5, y + 0.06), (0, y + 0.035), (-wide * 0.5, y + 0.06)]  # fmt: skip
        self.canvas.fill(whiskers, self.colors.hair, region, 0.4)

    def eyes(self, region: int):
        for side in (-1, 1):
            tilt = -side * (0.03 + 0.16 * self.identity.eye_tilt)
            x, y = side * self.eye_x, self.eye_y
            white = ellipse(x, y, self.eye_size, self.eye_open, tilt)
            self.canvas.fill(white, self.colors.white, region, 0.36, False)
            round_ = min(self.eye_open * 0.94, self.eye_size * 0.66)
            self.canvas.fill(ellipse(x, y, self.eye_size * 0.62, round_), self.colors.iris, region, 0.36, False)
            self.canvas.fill(ellipse(x, y, self.eye_size * 0.3, min(round_, self.eye_size * 0.32)), self.colors.pupil,
                             region, 0.36, False)  # fmt: skip
            self.canvas.stroke(white[14:], self.colors.pupil, 0.042, region, 0.36)

    def brows(self, region: int):
        it = self.identity
        lift = {"surprised": 0.1, "laughing": 0.03}.get(self.look.expression, 0.0)
        slant = 0.05 * it.brow_slant + {"sad": 0.1}.get(self.look.expression, 0.0)
        y = self.eye_y - self.eye_size - 0.1 - 0.035 * it.brow_height - lift
        arch = 0.05 + 0.035 * it.brow_arch
        for side in (-1, 1):
            points = [
                (side * (self.eye_x + 0.2 * t), y + slant * t - arch * (1 - t * t)) for t in np.linspace(-1, 1, 7)
            ]
            self.canvas.stroke(points, self.colors.brow, 0.07 + 0.032 * it.brow_thickness, region, 0.34)

    def earrings(self, region: int):
        if self.look.earrings == "none":
            return
        drop = 0.15 * 1.35 + 0.06 * self.identity.ear_size
        for side in (-1, 1):
            x, y = self.ear_place(side)
            ring = ellipse(x * 1.04, y + drop + 0.11, 0.095, 0.11)
            self.canvas.stroke(ring, self.colors.gold, 0.065, region, -0.1, True)

    def glasses(self, region: int):
        if self.look.glasses == "none":
            return
        size = max(0.25, self.eye_size * 1.45)
        size = min(size, self.eye_x - 0.035)
        for side in (-1, 1):
            x, y = self.ear_place(side)
            self.canvas.stroke([(side * (self.eye_x + size), self.eye_y - 0.02), (x * 0.99, y - 0.06)],
                               self.colors.frame, 0.05, region, 0.15)  # fmt: skip
            lens = ellipse(side * self.eye_x, self.eye_y + 0.01, size, size * 0.86)
            if self.look.glasses == "sunglasses":
                self.canvas.fill(lens, self.colors.lens, region, 0.42)
                glint = [(side * self.eye_x - 0.1, self.eye_y + 0.02), (side * self.eye_x - 0.02, self.eye_y - 0.1)]
                self.canvas.stroke(glint, self.colors.shade, 0.04, region, 0.42)
            else:
                self.canvas.stroke(lens, self.colors.frame, 0.055, region, 0.42, True)
        gap = self.eye_x - size
        self.canvas.stroke([(-gap, self.eye_y - 0.02), (0, self.eye_y - 0.05), (gap, self.eye_y - 0.02)],
                           self.colors.frame, 0.055, region, 0.44)  # fmt: skip

    def landmarks(self):
        """The five points with their depths, in the order of Portrait.landmarks."""
        eyes = np.array([(-self.eye_x, self.eye_y), (self.eye_x, self.eye_y)])
        corners = np.array([(-self.mouth_width, self.corner_y), (self.mouth_width, self.corner_y)])
        if self.look.expression == "surprised":
            corners = np.array(
                [(-self.mouth_width * 0.72, self.mouth_y + 0.06), (self.mouth_width * 0.72, self.mouth_y + 0.06)]
            )
        return (eyes, 0.36), (np.array([(0.0, self.nose_y)]), 0.5), (corners, 0.34)
