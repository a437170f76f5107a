"""A canvas in head coordinates: polygons and strokes that turn with the head, and a label for every pixel."""

import cv2
import numpy as np

from .pose import Pose

_SHIFT = 4  # OpenCV's fixed-point bits for positions between pixels
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 28, endpoint=False)),
                    np.sin(np.linspace(0, 2 * np.pi, 28, endpoint=False))], 1)  # fmt: skip


def ellipse(x: float, y: float, across: float, down: float, tilt: float = 0.0) -> np.ndarray:
    """Outline [28, 2] of an ellipse with half axes `across` and `down`, turned by `tilt` radians."""
    points = _CIRCLE * (across, down)
    if tilt:
        cos, sin = np.cos(tilt), np.sin(tilt)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    return points + (x, y)


class Canvas:
    """RGB picture of twice the wanted side, filled back to front.

    Head coordinates: x to the right, y down, origin between the ears; 1 is about half the height of a head. `depth`
    is how far a point lies in front of the head's axis: turning the head moves it sideways.
    """

    def __init__(self, background: np.ndarray, pose: Pose, size: int, outline, labelled: bool):
        self.side = 2 * size
        self.picture = background.copy()
        self.labels = np.zeros((self.side, self.side), np.uint8) if labelled else None
        self.unit = self.side * 0.335 * pose.scale
        self.centre = np.array([pose.x, pose.y]) * self.side
        cos, sin = np.cos(pose.roll), np.sin(pose.roll)
        turn = np.array([[cos, sin], [-sin, cos]]) * self.unit
        self.linear = np.array([[np.cos(pose.yaw)], [1.0]]) * turn
        self.sideways = np.sin(pose.yaw) * turn[0]
        self.outline = outline

    def place(self, points, depth: float = 0.0) -> np.ndarray:
        """Pixels [..., 2] of points [..., 2] in head coordinates."""
        return np.asarray(points, np.float64) @ self.linear + (self.centre + depth * self.sideways)

    def _fixed(self, points, depth):
        return ((self.place(points, depth) - 0.5) * (1 << _SHIFT)).round().astype(np.int32)

    def fill(self, points, color, region: int, depth: float = 0.0, outlined: bool = True):
        """A filled polygon [N, 2]; with an outline where the style has one."""
        at = self._fixed(points, depth)
        cv2.fillPoly(self.picture, [at], color, cv2.LINE_AA, _SHIFT)
        if self.labels is not None:
            cv2.fillPoly(self.labels, [at], region, cv2.LINE_8, _SHIFT)
        if outlined and self.outline is not None:
            self._line(at, self.outline, 0.034, True, None)

    def stroke(self, points, color, width: float, region: int | None, depth: float = 0.0, closed: bool = False):
        """A line through points [N, 2] of `width` in head units; region None leaves the labels as they are."""
        self._line(self._fixed(points, depth), color, width, closed, region)

    def _line(self, at, color, width, closed, region):
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.picture, [at], closed, color, thickness, cv2.LINE_AA, _SHIFT)
        if self.labels is not None and region is not None:
            cv2.polylines(self.labels, [at], closed, region, thickness, cv2.LINE_8, _SHIFT)
