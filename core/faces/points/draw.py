"""The picture of five landmarks that InstantID's ControlNet was trained on."""

import math

import numpy as np
from numpy.typing import ArrayLike

from ..found import Landmark
from .pose import as_faces
from .raster import convex_polygon, disc, ellipse_outline

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)], dtype=np.uint8)
LIMB_COLOURS = (COLOURS * 0.6).astype(np.uint8)
LIMBS = tuple(end for end in Landmark if end != Landmark.NOSE)  # joined to the nose, in the colour of its own end
LIMB_HALF_WIDTH = 4
RADIUS = 10


def draw_keypoints(landmarks: ArrayLike, height: int, width: int) -> np.ndarray:
    """Draw faces as coloured limbs and dots on black, byte for byte as InstantID's `draw_kps` does with OpenCV.

    Landmarks [5,2] or [N,5,2] (x, y) in pixels of this canvas. Returns uint8 [height,width,3] RGB. Several faces: the
    limbs of all of them, then the dots of all of them, so that no face's limb covers another's dot and one face alone
    equals the reference.
    The measures are taken in the landmarks' own precision (detectors give single), as the reference takes them.
    Raises ValueError for another shape, or coordinates that are not finite or lie beyond +-2**29 pixels, where the
    reference runs out of integers.
    """
    faces = as_faces(landmarks)
    canvas = np.zeros((height * width, 3), dtype=np.uint8)
    for face in faces:
        for end in LIMBS:
            canvas[convex_polygon(_limb(face[[end, Landmark.NOSE]]), height, width)] = LIMB_COLOURS[end]
    for face in faces:
        for (x, y), colour in zip(face, COLOURS, strict=True):
            canvas[disc((int(x), int(y)), RADIUS, height, width)] = colour
    return canvas.reshape(height, width, 3)


def _limb(ends: np.ndarray) -> np.ndarray:
    """Outline [M,2] of the ellipse around a limb, from its two ends [2,2]; every measure is cut, not rounded."""
    x, y = ends[:, 0], ends[:, 1]
    length = ((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2) ** 0.5
    angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
    return ellipse_outline((int(np.mean(x)), int(np.mean(y))), (int(length / 2), LIMB_HALF_WIDTH), int(angle))
