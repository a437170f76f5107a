"""Where the faces of a photograph come to lie on a canvas: five landmarks per face, in pixels."""

import math

import numpy as np
from numpy.typing import ArrayLike

# Half-lengths and sums of coordinates up to here stay inside 32-bit pixels, the range in which the drawing is defined.
FARTHEST = 2.0**29


def as_faces(landmarks: ArrayLike) -> np.ndarray:
    """Five landmarks of one face [5,2] or of several [N,5,2] as an array [N,5,2] of floats.

    Single precision stays single, everything else becomes double. Raises ValueError for another shape and for
    coordinates that are not finite or lie beyond +-2**29 pixels.
    """
    faces = np.asarray(landmarks)
    if faces.dtype != np.float32:
        faces = faces.astype(np.float64)
    if faces.ndim == 2:
        faces = faces[None]
    if faces.ndim != 3 or faces.shape[1:] != (5, 2):
        raise ValueError(f"Landmarks have shape {list(np.shape(landmarks))}; expected [5, 2] or [faces, 5, 2].")
    if not (np.abs(faces) <= FARTHEST).all():
        raise ValueError(
            "Landmarks hold a coordinate that is not finite or lies beyond 2**29 pixels; expected pixels "
            "of the picture."
        )
    return faces


def fit(landmarks: ArrayLike, from_size: tuple[int, int], to_size: tuple[int, int]) -> np.ndarray:
    """Carry landmarks from one frame to another that contains it: one scale for both axes, centred.

    Landmarks [N,5,2] or [5,2] in pixels, sizes (width, height). Returns [N,5,2]; equal sizes change nothing.
    """
    faces = as_faces(landmarks)
    scale = min(to_size[0] / from_size[0], to_size[1] / from_size[1])
    margin = [(to - scale * size) / 2 for to, size in zip(to_size, from_size, strict=True)]
    return (faces * scale + np.array(margin)).astype(faces.dtype)


def place(
    landmarks: ArrayLike,
    from_size: tuple[int, int],
    to_size: tuple[int, int],
    offset_x: float = 0.0,
    offset_y: float = 0.0,
    scale: float = 1.0,
    rotate: float = 0.0,
) -> np.ndarray:
    """Fit a photograph's landmarks into a canvas, then scale, turn and move them as the artist asks.

    Landmarks [N,5,2] or [5,2] in pixels, sizes (width, height). `scale` and `rotate` (degrees, clockwise as seen) act
    about the mean of all landmarks, so that several faces keep their places relative to one another; the offsets are
    fractions of the canvas's width and height, 0 = none. Returns [N,5,2]; equal sizes and defaults change nothing.
    """
    faces = fit(landmarks, from_size, to_size)
    if len(faces) == 0:
        return faces
    turn = math.radians(math.fmod(rotate, 360.0))
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    # Added as a difference from what is there, so that no turn and no scale leave every bit as it was.
    change = np.array([[cos - 1.0, sin], [-sin, cos - 1.0]])
    offset = np.array([offset_x * to_size[0], offset_y * to_size[1]])
    center = faces.mean(axis=(0, 1), dtype=np.float64)
    return (faces + ((faces - center) @ change + offset)).astype(faces.dtype)
