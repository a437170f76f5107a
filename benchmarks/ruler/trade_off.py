"""What a cure gives back of the prompt, and what it takes from the likeness: paired with the same pictures uncured."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .figures import Score, attribute_shares, by_condition, shown


class TradeOff(NamedTuple):
    """Shares of what the adapter cost and of the likeness without the cure, in percent; `error` is the standard error
    of `lost` over people. A picture in which no face is found is like nobody."""

    kept: float
    given_back: float
    likeness: float
    lost: float
    error: float


def likeness(scores: list[Score]) -> float:
    return float(np.mean([score.right or 0.0 for score in scores]))


def trade_off(scores: list[Score], ill: list[Score], base: list[Score]) -> TradeOff:
    """Of one condition, against the same people, prompts and seeds with the adapter alone and without it."""
    kept, worst, best = (np.mean([score.kept for score in group]) for group in (scores, ill, base))
    whole = likeness(ill)
    before = {_case(score): score.right or 0.0 for score in ill}
    changes = defaultdict(list)
    for score in scores:
        changes[score.person].append(before[_case(score)] - (score.right or 0.0))
    people = [np.mean(own) for own in changes.values()]
    error = 100 * np.std(people, ddof=1) / len(people) ** 0.5 / whole if len(people) > 1 else float("nan")
    lost = 100 * (whole - likeness(scores)) / whole
    given_back = 100 * (kept - worst) / (best - worst) if best != worst else float("nan")
    return TradeOff(float(kept), float(given_back), likeness(scores), lost, float(error))


def _case(score):
    return score.person, score.prompt, score.phrases, score.seed


def markdown(scores: list[Score], ill: str, base: str) -> str:
    """Tables of all conditions: the trade, the prompt kept by number of phrases, and by attribute."""
    groups = by_condition(scores)
    lines = ["| condition | prompt kept | given back | cosine | likeness lost | traits |", "|---|---|---|---|---|---|"]
    for name, group in groups.items():
        trade, traits = trade_off(group, groups[ill], groups[base]), np.mean([score.traits for score in group])
        lost = f"{shown(trade.lost, 1, trade.error)} %"
        back = f"{shown(trade.given_back, 0)} %"
        lines.append(f"| {name} | {trade.kept:.3f} | {back} | {trade.likeness:.3f} | {lost} | {traits:.3f} |")
    phrases = sorted({score.phrases for score in scores})
    header = " | ".join(f"{count or 'everything'} named" for count in phrases)
    lines += ["", f"| prompt kept (given back, likeness lost) | {header} |", "|---" * (1 + len(phrases)) + "|"]
    for name, group in groups.items():
        cells = [_of_phrases(count, group, groups[ill], groups[base]) for count in phrases]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    shares = {name: attribute_shares(group) for name, group in groups.items()}
    attributes = [name for name in scores[0].read if any(name in share for share in shares.values())]
    lines += ["", f"| prompt kept | {' | '.join(attributes)} |", "|---" * (1 + len(attributes)) + "|"]
    for name, share in shares.items():
        cells = [shown(share[attribute][0], 2) if attribute in share else "–" for attribute in attributes]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of_phrases(count, *groups):
    trade = trade_off(*([score for score in group if score.phrases == count] for group in groups))
    return f"{trade.kept:.2f} ({shown(trade.given_back, 0)} %, {shown(trade.lost, 1)} %)"


def plot(scores: list[Score], curves: dict[str, list[str]], others: list[str], path: Path):
    """Prompt against likeness as a PNG: one line per curve, through its conditions in their order, and loose points."""
    from matplotlib.figure import Figure  # only here: a measurement doesn't need it

    groups = by_condition(scores)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for label, names in {**curves, "other ways": others}.items():
        points = [(likeness(groups[name]), np.mean([score.kept for score in groups[name]])) for name in names]
        axes.plot(*zip(*points, strict=True), marker="o", label=label, linestyle="-" if label in curves else "")
        for name, point in zip(names, points, strict=True):
            text = _number(name) if label in curves else name.removeprefix("cure-")
            axes.annotate(text, point, xytext=(5, 5), textcoords="offset points", fontsize=8)
    axes.set(xlabel="likeness (cosine to the reference)", ylabel="share of the prompt that the picture shows")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=110)


def _number(name):
    """The weight or strength at the end of a condition's name."""
    return name.removesuffix("+control").rsplit("-", 1)[-1]
