"""The figure that can say no: what a cure keeps of the likeness beyond what a rival keeps with as much of the prompt.

A rival is a curve of conditions that anybody has without a cure, such as lower weights. Between two of its conditions
the straight line counts: who takes one of them for some pictures and the other for the rest gets what lies between.
"""

from typing import NamedTuple

import numpy as np

from ..figures import SURE, Score, by_condition, shown, table
from .people import ENOUGH, ByPerson, by_person, estimate
from .trade_off import by_length

_EVEN = 1e-9  # of the prompt kept: rounding


def best_likeness(kept: np.ndarray, likeness: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Most likeness [draws] on the line through a curve's points, `kept` and `likeness` [points, draws] in the curve's
    order, where at least `wanted` [draws] of the prompt is kept; where the line never gets there, at its end that keeps
    most."""
    wanted = np.minimum(wanted, kept.max(0))
    places = [np.where(kept >= wanted - _EVEN, likeness, -np.inf)]
    before, after = kept[:-1], kept[1:]
    crossed = (before - wanted) * (after - wanted) < 0
    share = (wanted - before) / np.where(crossed, after - before, 1)
    places.append(np.where(crossed, likeness[:-1] + share * (likeness[1:] - likeness[:-1]), -np.inf))
    return np.concatenate(places).max(0)


class Lead(NamedTuple):
    """Points of the uncured likeness, in percent, that a cure keeps beyond a rival, with the standard error; whether
    the rival keeps as much of the prompt at all, and how much at most; of how many people."""

    points: float
    error: float
    reached: bool
    most: float
    people: int

    @property
    def word(self) -> str:
        """Whether the cure is better; "not shown" within the error, which few people cannot tell."""
        if self.people < ENOUGH:
            return "too few people"
        if abs(self.points) <= SURE * self.error:
            return "not shown"
        return "yes" if self.points > 0 else "no: worse"


def lead(people: ByPerson, cure: str, rival: list[str], ill: str) -> Lead:
    """Of a condition over a curve, both against the condition `ill`."""
    kept = np.stack([people.kept[name] for name in rival])
    likeness = np.stack([people.likeness[name] for name in rival])

    def points(drawn):
        level = people.kept[cure][drawn].mean(-1)
        best = best_likeness(kept[:, drawn].mean(-1), likeness[:, drawn].mean(-1), level)
        whole = people.likeness[ill][drawn].mean(-1)
        return 100 * (people.likeness[cure][drawn].mean(-1) - best) / whole

    most = kept.mean(-1).max()
    reached = bool(most >= people.kept[cure].mean() - _EVEN)
    return Lead(*estimate(points, people.count), reached, float(most), people.count)


def all_the_same(people: ByPerson, rival: list[str]) -> bool:
    """Whether the conditions of a curve after the uncured one, several, gave everybody the very same numbers."""
    first, *others = rival[1:]
    return bool(others) and all(
        np.array_equal(part[first], part[name]) for part in (people.kept, people.likeness) for name in others
    )


def markdown(scores: list[Score], cures: list[str], rivals: dict[str, list[str]], ill: str) -> str:
    """A table per rival: the lead of each cure over it, over all prompts and by how many attributes they name."""
    people = {title: by_person(by_condition(some)) for title, some in by_length(scores).items()}
    parts = []
    for label, rival in rivals.items():
        parts.append(
            f"At the same prompt kept, points of the likeness that the cure keeps beyond any {label}. Better: by more "
            f"than {SURE:g} standard errors, in all, of {ENOUGH} people or more. In brackets: the rival never keeps as "
            "much of the prompt, and is taken where it keeps most, which is so much.\n"
        )
        rows = []
        for cure in cures:
            leads = {title: lead(some, cure, rival, ill) for title, some in people.items()}
            kept = shown(float(people["in all"].kept[cure].mean()), 3)
            rows.append((cure, leads["in all"].word, kept, *(_cell(one) for one in leads.values())))
        parts.append(table(("", f"better than any {label}", "prompt kept", *people), rows))
        if all_the_same(people["in all"], rival):
            parts.append(
                f"All conditions of the {label} gave the very same numbers: with so few steps they are one run.\n"
            )
    return "\n".join(parts)


def _cell(one: Lead) -> str:
    points = ("+" if one.points >= 0 else "") + shown(one.points, 1, one.error)
    return points if one.reached else f"{points} [{one.most:.3f}]"
