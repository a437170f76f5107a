"""Which face comes first. Faces that are as good as equal in one respect go by the next, last by where they are.

The same picture gives numbers that differ a little from device to device, in half precision and in another batch. What
lies within a hair is therefore a tie, or two faces of one size would change places.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

ORDERS = ("largest", "left to right", "most confident")

_OF_SIZE = 0.01  # of the area or, for places, of the width and height: half a pixel of a face 50 pixels wide
_OF_SCORE = 1e-3


class _Respect(NamedTuple):
    """What faces are sorted by, the smaller value first; who is at most `hair` behind the first of a tie is in it."""

    value: Callable
    hair: Callable


def _width(face):
    return face.box[2] - face.box[0]


def _height(face):
    return face.box[3] - face.box[1]


def _area(face):
    return _width(face) * _height(face)


_ACROSS = _Respect(lambda face: (face.box[0] + face.box[2]) / 2, lambda face: _OF_SIZE * _width(face))
_DOWN = _Respect(lambda face: (face.box[1] + face.box[3]) / 2, lambda face: _OF_SIZE * _height(face))
_FIRST = {
    "largest": [_Respect(lambda face: -_area(face), lambda face: _OF_SIZE * _area(face))],
    "left to right": [],
    "most confident": [_Respect(lambda face: -face.score, lambda face: _OF_SCORE)],
}


def in_order(faces: Sequence, order: str) -> list[int]:
    """Places of faces (encoder.HostFace: box xyxy, score) in one of ORDERS; ValueError for another."""
    if order not in ORDERS:
        raise ValueError(f"Unknown face order {order!r}: expected one of {', '.join(ORDERS)}.")
    return _sorted(faces, list(range(len(faces))), [*_FIRST[order], _ACROSS, _DOWN])


def _sorted(faces, places, respects):
    if not respects or len(places) < 2:
        return places
    (value, hair), *others = respects
    places = sorted(places, key=lambda place: value(faces[place]))
    ties = []
    for place in places:
        if not ties or value(faces[place]) - value(faces[ties[-1][0]]) > hair(faces[ties[-1][0]]):
            ties.append([])
        ties[-1].append(place)
    return [place for tie in ties for place in _sorted(faces, tie, others)]
