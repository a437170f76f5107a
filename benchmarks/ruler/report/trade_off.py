"""What a cure gives back of the prompt, and what it takes from the likeness: paired with the same pictures uncured."""

from typing import NamedTuple

import numpy as np

from ..figures import SURE, Score, by_condition, mean_and_error, percent, shown, table
from .people import by_person, estimate


class TradeOff(NamedTuple):
    """Shares of what the adapter cost and of the likeness without the cure, in percent; the errors are standard errors
    over people, that of `lost` of the paired difference. A picture in which no face is found is like nobody."""

    kept: float
    kept_error: float
    given_back: float
    given_back_error: float
    likeness: float
    lost: float
    lost_error: float


def likeness(scores: list[Score]) -> float:
    return float(np.mean([score.right or 0.0 for score in scores]))


def trade_off(scores: list[Score], ill: list[Score], base: list[Score]) -> TradeOff:
    """Of one condition, against the same people, prompts and seeds with the adapter alone and without it."""
    kept, kept_error = mean_and_error([(score.person, score.kept) for score in scores])
    whole = likeness(ill)
    before = {_case(score): score.right or 0.0 for score in ill}
    changes = [(score.person, before[_case(score)] - (score.right or 0.0)) for score in scores]
    change, change_error = mean_and_error(changes)
    back, back_error = _given_back(scores, ill, base)
    return TradeOff(kept, kept_error, back, back_error, likeness(scores), 100 * change / whole,
                    100 * change_error / whole)  # fmt: skip


def _case(score):
    return score.person, score.prompt, score.phrases, score.seed


def _given_back(*groups):
    """Percent, NaN where the adapter costs no more than the error of that, and its error."""
    people = by_person(dict(zip(("scores", "ill", "base"), groups, strict=True)))
    cost, error = mean_and_error([*enumerate(people.kept["base"] - people.kept["ill"])])
    if not cost > SURE * error:  # of one person the error is NaN, and no more known
        return float("nan"), float("nan")

    def share(drawn):
        now, worst, best = (own[drawn].mean(-1) for own in people.kept.values())
        return np.where(best == worst, np.nan, 100 * (now - worst) / np.where(best == worst, 1, best - worst))

    return estimate(share, people.count)


def by_length(scores: list[Score]) -> dict[str, list[Score]]:
    """All scores, and where prompts differ in how many attributes they name, those of each length."""
    lengths = sorted({score.phrases for score in scores}, key=lambda count: count or 0)
    chosen = {"in all": scores}
    if len(lengths) > 1:
        chosen |= {f"{count} named": [score for score in scores if score.phrases == count] for count in lengths}
    return chosen


def markdown(scores: list[Score], ill: str, base: str) -> str:
    """A table of all conditions for all prompts, and one for each number of attributes that they name."""
    tables = []
    for title, some in by_length(scores).items():
        groups, rows = by_condition(some), []
        for name, group in groups.items():
            trade, traits = trade_off(group, groups[ill], groups[base]), np.mean([score.traits for score in group])
            kept, lost = shown(trade.kept, 3, trade.kept_error), percent(trade.lost, 1, trade.lost_error)
            back = percent(trade.given_back, 0, trade.given_back_error)
            rows.append((name, kept, back, f"{trade.likeness:.3f}", lost, f"{traits:.3f}"))
        tables.append(table((title, "prompt kept", "given back", "cosine", "likeness lost", "traits"), rows))
    return "\n".join(tables)


class Disease(NamedTuple):
    """What the adapter costs: points of the prompt, in percent, that are lost with it, paired with the same prompts
    without; and percent of its likeness that are left at a fainter weight (None if not measured). Each with its
    standard error over people."""

    lost: tuple[float, float]
    left: tuple[float, float] | None


def disease(groups: dict[str, list[Score]], ill: str, base: str, fainter: str) -> Disease:
    """Of {condition: scores}."""
    people = by_person({name: groups[name] for name in (ill, base, fainter) if name in groups})
    lost = estimate(lambda drawn: 100 * (people.kept[base] - people.kept[ill])[drawn].mean(-1), people.count)
    left = None
    if fainter in groups:
        faint, whole = people.likeness[fainter], people.likeness[ill]
        left = estimate(lambda drawn: 100 * faint[drawn].mean(-1) / whole[drawn].mean(-1), people.count)
    return Disease(lost, left)


def disease_markdown(scores: list[Score], ill: str, base: str, fainter: str, weight: str) -> str:
    """`weight` says in words which one the fainter condition has."""
    left_with = f"likeness left with {fainter} ({weight})"
    rows = []
    for title, some in by_length(scores).items():
        found = disease(by_condition(some), ill, base, fainter)
        left = percent(found.left[0], 1, found.left[1]) if found.left else "–"
        rows.append((title, shown(found.lost[0], 1, found.lost[1]), left))
    return table(("the disease", f"points of the prompt lost with {ill}", left_with), rows)
