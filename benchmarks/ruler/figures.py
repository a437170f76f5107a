"""The arithmetic: scores of pictures to figures of a condition, and figures to tables."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pairs import area_under_curve

SURE = 2.0  # standard errors from which on a difference counts


@dataclass(frozen=True)
class Score:
    """What was measured on one picture. Words are {attribute: value}: what the prompt asked for, what the reference
    shows of it, what the judge reads; `traits_read` and `traits_true` {trait: -1..1} are what it reads of the person
    and the truth, `traits` how these agree over all traits. `right` and `wrong` are cosines to the own and to all other
    references, None and empty without a face or a face encoder; `apart` is the difference to the same case's other
    seeds."""

    condition: str
    person: int
    prompt: int
    phrases: int | None
    seed: int
    text: str
    asked: dict[str, str]
    reference: dict[str, str]
    read: dict[str, str]
    traits: float
    traits_read: dict[str, float]
    traits_true: dict[str, float]
    found: bool
    right: float | None
    wrong: tuple[float, ...]
    landmarks: float | None
    judged_landmarks: float
    apart: float | None
    seconds: float

    @property
    def kept(self) -> float:
        """Share of what the prompt names that the picture shows."""
        return float(np.mean([self.read[name] == value for name, value in self.asked.items()]))

    @property
    def leaked(self) -> float:
        """Share of what the prompt contradicts that the picture shows as the reference has it."""
        contradicted = [name for name, value in self.reference.items() if self.asked[name] != value]
        return float(np.mean([self.read[name] == self.reference[name] for name in contradicted]))


def mean_and_error(values: list[tuple[int, float]]) -> tuple[float, float]:
    """Mean of (person, value) pairs, and the standard error of the mean of people (NaN for a single one): pictures of
    one person are not independent of each other."""
    people = defaultdict(list)
    for person, value in values:
        people[person].append(value)
    means = [np.mean(own) for own in people.values()]
    error = np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("nan")
    return float(np.mean([value for _, value in values])), float(error)


def pairwise_difference(pictures: np.ndarray) -> float | None:
    """Mean absolute difference in 0..255 of all pairs of pictures uint8 [S, H, W, 3], None for a single picture."""
    pairs = [np.abs(one.astype(np.int16) - other).mean() for at, one in enumerate(pictures) for other in pictures[:at]]
    return float(np.mean(pairs)) if pairs else None


def attribute_shares(scores: list[Score]) -> dict[str, tuple[float, float]]:
    """For each attribute: share of pictures that show the prompt's value, and that show the reference's instead."""
    kept, leaked = defaultdict(list), defaultdict(list)
    for score in scores:
        for name, value in score.asked.items():
            kept[name].append(score.read[name] == value)
            if score.reference.get(name, value) != value:
                leaked[name].append(score.read[name] == score.reference[name])
    return {name: (float(np.mean(kept[name])), float(np.mean(leaked[name] or [np.nan]))) for name in kept}


def shown(value: float, places: int, error: float = float("nan")) -> str:
    """A number as the tables have it; a dash for NaN."""
    if np.isnan(value):
        return "–"
    return f"{value:.{places}f}" + ("" if np.isnan(error) else f" ± {error:.{places}f}")


def overview(scores: list[Score]) -> dict[str, str]:
    """The figures of one condition by their names, as text."""

    def averaged(name, places):
        known = [(score.person, value) for score in scores if (value := getattr(score, name)) is not None]
        mean, error = mean_and_error(known) if known else (float("nan"),) * 2
        return shown(mean, places, error)

    right = [score.right for score in scores if score.right is not None]
    wrong = [cosine for score in scores for cosine in score.wrong]
    return {
        "pictures": str(len(scores)),
        "face found": averaged("found", 3),
        "cosine, right": averaged("right", 3),
        "cosine, wrong": shown(np.mean(wrong) if wrong else float("nan"), 3),
        "AUC": shown(area_under_curve(right, wrong) if wrong else float("nan"), 3),
        "traits": averaged("traits", 3),
        "prompt kept": averaged("kept", 3),
        "reference leaked": averaged("leaked", 3),
        "landmarks off, px": averaged("landmarks", 2),
        "seeds apart": averaged("apart", 1),
        "CPU s": shown(np.median([score.seconds for score in scores]), 2),
    }


def by_condition(scores: list[Score]) -> dict[str, list[Score]]:
    """Scores by condition, in the order in which conditions first occur."""
    groups = defaultdict(list)
    for score in scores:
        groups[score.condition].append(score)
    return dict(groups)


def markdown(scores: list[Score]) -> str:
    """Both tables, a row per condition: the figures, and kept (leaked) per attribute."""
    groups = by_condition(scores)
    rows = {name: overview(group) for name, group in groups.items()}
    columns = list(next(iter(rows.values())))
    figures = table(("condition", *columns), [(name, *row.values()) for name, row in rows.items()])
    shares = {name: attribute_shares(group) for name, group in groups.items()}
    attributes = [name for name in scores[0].read if any(name in share for share in shares.values())]
    lines = []
    for name, share in shares.items():
        pairs = [share.get(attribute, (float("nan"),) * 2) for attribute in attributes]
        lines.append((name, *(f"{shown(kept, 2)} ({shown(leaked, 2)})" for kept, leaked in pairs)))
    return figures + "\n" + table(("prompt kept (reference leaked)", *attributes), lines)


def percent(value: float, places: int, error: float = float("nan")) -> str:
    """The same of a share; a dash alone for NaN."""
    return shown(value, places, error) + ("" if np.isnan(value) else " %")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def write_csv(scores: list[Score], path: Path, traits: tuple[str, ...] = ()):
    """One row per picture; per attribute what was asked (empty: nothing), what the reference has, what is read; of
    these traits what is read and what is true."""
    rows = [_csv_row(score, traits) for score in scores]
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _csv_row(score, traits):
    numbers = {name: getattr(score, name) for name in ("right", "traits", "kept", "leaked", "landmarks",
                                                       "judged_landmarks", "apart", "seconds")}  # fmt: skip
    numbers["wrong"] = np.mean(score.wrong) if score.wrong else None
    row = {name: getattr(score, name) for name in ("condition", "person", "prompt", "phrases", "seed", "text", "found")}
    row |= {name: "" if value is None else f"{value:.4f}" for name, value in numbers.items()}
    for name in score.read:
        for part in ("asked", "reference", "read"):
            row[f"{name} {part}"] = getattr(score, part).get(name, "")
    for name in traits:
        row[f"{name} read"] = f"{score.traits_read[name]:.4f}"
        row[f"{name} true"] = f"{score.traits_true[name]:.4f}"
    return row
