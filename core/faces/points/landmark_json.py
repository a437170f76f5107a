"""Five landmarks per face as text, so that a graph or a script can read, edit and hand in a pose."""

import json

import numpy as np
from numpy.typing import ArrayLike

from ... import plain
from ...quoted import quoted
from .pose import FARTHEST, as_faces

EXPECTED = 'expected {"size": [width, height], "faces": [[[x, y], ... 5 points], ...]}, one face or a list of faces'

_FACES = 300  # far above any picture; each is drawn by itself


def landmarks_to_json(landmarks: ArrayLike, height: int, width: int) -> str:
    """Landmarks [N,5,2] or [5,2] and the size of the canvas they are on as one line of JSON.

    Numbers are written so that they read back exactly. Raises ValueError as `as_faces` does.
    """
    return json.dumps({"size": [width, height], "faces": as_faces(landmarks).tolist()})  # host read: numpy


def parse_landmarks(text: str) -> tuple[np.ndarray, tuple[int, int] | None]:
    """Landmarks [N,5,2] (float64) from JSON, and the (width, height) they were written for, None without "size".

    The JSON is an object with "faces" and perhaps "size", one face [[x, y] * 5], or a list of faces;
    `pose.fit(landmarks, size, canvas)` carries them to another canvas. Raises ValueError with one sentence for anything
    else.
    """
    try:
        # Every number becomes a float at once: whole numbers have no bound of their own in Python.
        value = json.loads(text, parse_int=float)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"Landmarks are not JSON ({error.msg}, line {error.lineno}, column {error.colno}); {EXPECTED}."
        ) from None
    except RecursionError:
        raise ValueError(f"Landmarks are nested too deeply; {EXPECTED}.") from None

    size = None
    if isinstance(value, dict):
        unknown = sorted(value.keys() - {"size", "faces"})
        if unknown:
            raise ValueError(f"Landmarks have an unknown key {quoted(unknown[0])}; {EXPECTED}.")
        if "faces" not in value:
            raise ValueError(f'Landmarks lack the key "faces"; {EXPECTED}.')
        size = _size(value["size"]) if "size" in value else None
        value = value["faces"]
    if not plain.is_list(value):
        raise ValueError(f"Landmarks are {plain.kind_in_words(value)}; {EXPECTED}.")
    if value and plain.is_list(value[0]) and value[0] and not plain.is_list(value[0][0]):
        value = [value]
    if len(value) > _FACES:
        raise ValueError(f"Landmarks hold {len(value):,} faces, and {_FACES} are the most; {EXPECTED}.")
    faces = [plain.points(face, 5, f"Landmarks: face {place}", FARTHEST) for place, face in enumerate(value, 1)]
    return np.array(faces, dtype=np.float64).reshape(-1, 5, 2), size


def _size(value) -> tuple[int, int]:
    if not plain.is_list(value, 2) or not all(plain.is_number(side, FARTHEST) and side >= 1 and side == int(side)
                                              for side in value):  # fmt: skip
        raise ValueError(
            'Landmarks have a "size" that is not a picture\'s; expected two positive whole numbers '
            "[width, height] in pixels."
        )
    return int(value[0]), int(value[1])
