"""Conditions side by side, person by person, and errors by drawing the people anew (the bootstrap).

People are what is drawn, not pictures: those of one person are not independent of each other. All figures of one draw
are of the same people, so what conditions have in common cancels out of their differences.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..figures import Score

DRAWS, SEED = 2000, 1
ENOUGH = 8  # people for a verdict, pictures for a correlation over them


def drawn_people(count: int) -> np.ndarray:
    """int [DRAWS, count]: the numbers 0..count-1 drawn with replacement, the same each time."""
    return np.random.default_rng(SEED).integers(count, size=(DRAWS, count))


def estimates(figures: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Figures [figures] of `count` people and their standard errors, NaN for a single person.

    `figures` takes numbers of people [draws, people] and returns [draws, figures]; a draw of which a figure is NaN does
    not count for its error.
    """
    values = figures(np.arange(count)[None])[0]
    if count == 1:
        return values, np.full_like(values, np.nan)
    drawn = np.ma.masked_invalid(figures(drawn_people(count)))
    # Draws vary as the people at hand do around their own mean, which is too little by (count - 1) / count: with this
    # the error of a mean is the one that `mean_and_error` has.
    return values, drawn.std(0, ddof=1).filled(np.nan) * (count / (count - 1)) ** 0.5


def estimate(figure: Callable[[np.ndarray], np.ndarray], count: int) -> tuple[float, float]:
    """The same of one figure: `figure` returns [draws]."""
    values, errors = estimates(lambda drawn: figure(drawn)[:, None], count)
    return float(values[0]), float(errors[0])


@dataclass(frozen=True)
class ByPerson:
    """Means over each person's pictures, {condition: float [people]}, people in the same order everywhere: the share of
    the prompt that is kept, and the cosine to the reference, 0 where no face is found."""

    kept: dict[str, np.ndarray]
    likeness: dict[str, np.ndarray]

    @property
    def count(self) -> int:
        """How many people."""
        return len(next(iter(self.kept.values())))


def by_person(groups: dict[str, list[Score]]) -> ByPerson:
    """Of {condition: scores}, each of the same people and with as many pictures of each."""
    people = sorted({score.person for scores in groups.values() for score in scores})
    kept, likeness = {}, {}
    for name, scores in groups.items():
        own = defaultdict(list)
        for score in scores:
            own[score.person].append((score.kept, score.right or 0.0))
        means = np.array([np.mean(own[person], axis=0) for person in people])
        kept[name], likeness[name] = means.T
    return ByPerson(kept, likeness)
