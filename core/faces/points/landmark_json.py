"""Five landmarks per face as text, so that a graph or a script can read, edit and hand in a pose."""

import json
import math

import numpy as np

from .pose import FARTHEST, as_faces

EXPECTED = 'expected {"size": [width, height], "faces": [[[x, y], ... 5 points], ...]}, one face or a list of faces'

_FACES = 300  # far above any picture; each is drawn by itself


def landmarks_to_json(landmarks, height: int, width: int) -> str:
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
            raise ValueError(f"Landmarks have an unknown key {ascii(unknown[0][:40])}; {EXPECTED}.")
        if "faces" not in value:
            raise ValueError(f'Landmarks lack the key "faces"; {EXPECTED}.')
        size = _size(value["size"]) if "size" in value else None
        value = value["faces"]
    if not isinstance(value, list):
        raise ValueError(f"Landmarks are {_kind(value)}; {EXPECTED}.")
    if value and isinstance(value[0], list) and value[0] and not isinstance(value[0][0], list):
        value = [value]
    if len(value) > _FACES:
        raise ValueError(f"Landmarks hold {len(value):,} faces, and {_FACES} are the most; {EXPECTED}.")
    faces = [_face(face, f"face {number}") for number, face in enumerate(value, 1)]
    return np.array(faces, dtype=np.float64).reshape(-1, 5, 2), size


def _size(value) -> tuple[int, int]:
    if not (
        isinstance(value, list)
        and len(value) == 2
        and all(_is_number(side) for side in value)
        and all(side >= 1 and side.is_integer() for side in value)
    ):
        raise ValueError(
            'Landmarks have a "size" that is not a picture\'s; expected two positive whole numbers '
            "[width, height] in pixels."
        )
    return int(value[0]), int(value[1])


def _face(value, name: str) -> list:
    if not isinstance(value, list) or len(value) != 5:
        raise ValueError(
            f"Landmarks: {name} is {_kind(value)}; expected five points (left eye, right eye, nose, left "
            "and right mouth corner)."
        )
    return [_point(point, f"{name}, point {number}") for number, point in enumerate(value, 1)]


def _point(value, name: str) -> list:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"Landmarks: {name} is {_kind(value)}; expected [x, y] in pixels.")
    for coordinate in value:
        if not _is_number(coordinate):
            raise ValueError(
                f"Landmarks: {name} holds {_kind(coordinate)}; expected two finite numbers of pixels, at "
                "most 2**29 from zero."
            )
    return value


def _is_number(value) -> bool:
    return isinstance(value, float) and abs(value) <= FARTHEST


def _kind(value) -> str:
    """What a JSON value is, in words that stay short whatever it holds."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, float):
        return f"the number {value:g}" if math.isfinite(value) else "a number that is not finite"
    return {dict: "an object", str: "a string", bool: "true or false", type(None): "null"}[type(value)]
