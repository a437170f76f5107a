"""Which face of a picture is which person: by likeness, one to one, or by position."""

import numpy as np
from scipy.optimize import linear_sum_assignment

PEOPLE = 4  # how many a node can tell apart
BY = ("similarity", "left to right", "largest")


def by_similarity(cosines: list[list[float]], least: float) -> list[int | None]:
    """The face of each person, None for who has none, from cosines[person][face] of one picture.

    One face has one person at most. Nobody gets a face under `least`; of all that is left, the assignment with the
    greatest sum of cosines over `least` is taken (Hungarian method).
    """
    chosen: list[int | None] = [None] * len(cosines)
    if not cosines or not cosines[0]:
        return chosen
    values = np.array(cosines, dtype=np.float64)
    worth = np.maximum(values - least, 0)
    for person, face in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if values[person, face] >= least:
            chosen[person] = int(face)
    return chosen


def by_position(count: int) -> list[int | None]:
    """Person n has the n-th of `count` faces that are in order already."""
    return [place if place < count else None for place in range(PEOPLE)]
