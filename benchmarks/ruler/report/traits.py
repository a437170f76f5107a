"""What is like the person in the judge's eyes, which have nothing in common with the encoder: trait by trait."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from facelets.verify_judge import READABLE

from ..figures import Score, by_condition, shown, table
from .people import ENOUGH, estimates


def list_of(judge: Path) -> Path:
    """{trait: correlation}, as `verify_judge --write` leaves it beside the judge's weights."""
    return judge.with_suffix(".json")


def read_well(judge: Path) -> tuple[str, ...]:
    """The traits that a judge reads well on portraits after the autoencoder, the best first."""
    judged = json.loads(list_of(judge).read_text())
    return tuple(sorted((name for name in judged if judged[name] >= READABLE), key=lambda name: -judged[name]))


def correlations(scores: list[Score], traits: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Pearson's correlation over pictures of what is read of each trait with the truth, and "mean", that of all these;
    each with its standard error over people. NaN of fewer than ENOUGH pictures, for a line through two of them is
    always right, and of one person, whose truth does not vary."""
    if len(scores) < ENOUGH or len({score.person for score in scores}) == 1:
        return dict.fromkeys((*traits, "mean"), (float("nan"),) * 2)
    people = defaultdict(list)
    for score in scores:
        people[score.person].append([(score.traits_read[name], score.traits_true[name]) for name in traits])
    sums = np.stack([_sums(np.array(own)) for own in people.values()])

    def figures(drawn):  # -> [draws, traits and their mean]
        count, read, true, read2, true2, both = np.moveaxis(sums[drawn].sum(1), 1, 0)
        spread = np.sqrt((count * read2 - read**2).clip(0) * (count * true2 - true**2).clip(0))
        each = (count * both - read * true) / np.where(spread > 0, spread, np.nan)
        return np.concatenate([each, each.mean(1, keepdims=True)], 1)

    values, errors = estimates(figures, len(people))
    return dict(zip((*traits, "mean"), zip(values.tolist(), errors.tolist(), strict=True), strict=True))


def _sums(pairs: np.ndarray) -> np.ndarray:
    """[pictures, traits, 2] -> [6, traits]: what a correlation needs of them, which can be added up over people."""
    read, true = pairs[..., 0], pairs[..., 1]
    return np.stack([part.sum(0) for part in (np.ones_like(read), read, true, read**2, true**2, read * true)])


def markdown(scores: list[Score], traits: tuple[str, ...]) -> str:
    """A row per condition."""
    if not traits:
        return f"The judge reads no trait well (correlation from {READABLE:g} on).\n"
    rows = [
        (name, *(shown(value, 2, error) for value, error in correlations(group, traits).values()))
        for name, group in by_condition(scores).items()
    ]
    return table(("traits as the judge reads them", *traits, "mean"), rows)
