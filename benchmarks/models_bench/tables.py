"""The figures: of a condition, against the adapter and the foundation on the same cases, by number of attributes, by
phrase. CLIP's cosines are times 100, as papers have them; plus or minus is the standard error of a mean over people."""

import csv
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from ruler.figures import SURE, mean_and_error, percent, shown, table

from .conditions import ADAPTER, FOUNDATION
from .work import Picture

_NONE, _DASH = float("nan"), "–"
_WHY_DASH = (
    "A dash for a share: the adapter changed this by no more than two standard errors over people (of one person none "
    "is known), so that a share of it would say nothing; or nothing was measured.\n"
)
Groups = dict[str, list[Picture]]


def prompt_kept(picture: Picture) -> float | None:
    """100 times the cosine to the whole prompt; None where it was not measured."""
    return 100 * picture.cosines[picture.text] if picture.cosines else None


def phrases_kept(picture: Picture) -> float | None:
    """100 times the mean cosine to what stood in brackets."""
    cosines = [picture.cosines[phrase] for phrase in picture.phrases if phrase in picture.cosines]
    return 100 * float(np.mean(cosines)) if cosines else None


class Change(NamedTuple):
    """How a condition differs from the adapter, case by case: the mean, its standard error over people, and both in
    percent of what lies between the adapter and the foundation (NaN where that is within two of its own errors)."""

    mean: float
    error: float
    share: float
    share_error: float


def change(value: Callable[[Picture], float | None], pictures: list[Picture], groups: Groups, sign: int) -> Change:
    """Of a value, over the cases that have it here, with the adapter and in the foundation. `sign`: 1 where the
    foundation has more of it than the adapter, -1 where it has less."""
    tables = [{one.case: value(one) for one in some} for some in (pictures, groups[ADAPTER], groups[FOUNDATION])]
    here, adapter, foundation = ({case: v for case, v in table.items() if v is not None} for table in tables)
    cases = [case for case in here if case in adapter and case in foundation]
    if not cases:
        return Change(_NONE, _NONE, _NONE, _NONE)
    mean, error = mean_and_error([(case[0], here[case] - adapter[case]) for case in cases])
    whole, own = mean_and_error([(case[0], foundation[case] - adapter[case]) for case in cases])
    unit = 100 / whole if whole * sign > SURE * own else _NONE  # of one person the error is NaN, and no more known
    return Change(mean, error, unit * mean, abs(unit) * error)


def likeness_of(groups: Groups) -> Callable[[Picture], float | None]:
    """The likeness of a picture for comparisons: one without a face is as like as the foundation's mean, so like
    anybody; None of a picture that was not made."""
    found = [one.likeness for one in groups[FOUNDATION] if one.likeness is not None]
    nobody = float(np.mean(found)) if found else None
    return lambda picture: None if picture.error else nobody if picture.likeness is None else picture.likeness


def markdown(groups: Groups) -> str:
    """All tables; comparisons only where both the adapter and the foundation were measured, prompts only where CLIP
    looked at them."""
    pictures = [one for some in groups.values() for one in some]
    clip = any(one.cosines for one in pictures)
    parts = [_overview(groups, clip)]
    if ADAPTER in groups and FOUNDATION in groups:
        compared = [_trade_off(groups, clip), *([_by_number(groups)] if clip else [])]
        parts += [*compared, *([_WHY_DASH] if _DASH in "".join(compared) else [])]
    if any(one.cosines and one.phrases for one in pictures):
        parts.append(_by_phrase(groups))
    return "\n".join(parts)


def _overview(groups, clip):
    kept = (("prompt", prompt_kept), ("attributes", phrases_kept)) if clip else ()
    header = ("condition", "pictures", "failed", "face found", "likeness", *(name for name, _ in kept), "s a picture")
    rows = []
    for name, pictures in groups.items():
        made = [one for one in pictures if not one.error]
        seconds = [one.seconds for one in made if one.seconds is not None]
        rows.append((
            name, str(len(made)), str(len(pictures) - len(made)), _mean(made, _found, 3),
            _mean(made, lambda one: one.likeness, 3), *(_mean(made, value, 2) for _, value in kept),
            shown(median(seconds) if seconds else _NONE, 2),
        ))  # fmt: skip
    return table(header, rows)


def _found(picture):
    return float(picture.likeness is not None)


def _mean(pictures, value, places):
    known = [(one.person, figure) for one in pictures if (figure := value(one)) is not None]
    mean, error = mean_and_error(known) if known else (_NONE, _NONE)
    return shown(mean, places, error)


def _trade_off(groups, clip):
    kept = (("prompt", prompt_kept), ("attributes", phrases_kept)) if clip else ()
    header = ["against the adapter", "likeness", "lost"]
    header += [cell for name, _ in kept for cell in (name, "given back")]
    rows = []
    for name, pictures in groups.items():
        likeness = change(likeness_of(groups), pictures, groups, -1)
        found = [(likeness, 3), *((change(value, pictures, groups, 1), 2) for _, value in kept)]
        cells = [
            cell
            for one, places in found
            for cell in (shown(one.mean, places, one.error), _percent(one, one.share_error))
        ]
        rows.append((name, *cells))
    return table(header, rows)


def _percent(found, error=_NONE):
    # plus 0.0, for there is a minus zero
    return percent(np.round(found.share) + 0.0, 0, error)


def _by_number(groups):
    """Prompt, its share given back, and the share of the likeness lost, of prompts of each number of attributes."""
    counts = sorted({len(one.phrases) for some in groups.values() for one in some})
    rows = []
    for name, pictures in groups.items():
        cells = []
        for count in counts:
            some = [one for one in pictures if len(one.phrases) == count]
            kept = _mean([one for one in some if not one.error], prompt_kept, 2)
            back, lost = change(prompt_kept, some, groups, 1), change(likeness_of(groups), some, groups, -1)
            cells.append(f"{kept} ({_percent(back)}, {_percent(lost)})")
        rows.append((name, *cells))
    return table(("prompt (given back, likeness lost)", *(f"{count} named" for count in counts)), rows)


def _by_phrase(groups):
    phrases = dict.fromkeys(phrase for some in groups.values() for one in some for phrase in one.phrases)
    rows = []
    for phrase in phrases:
        values = [[100 * one.cosines[phrase] for one in some if phrase in one.cosines] for some in groups.values()]
        rows.append((phrase, *(shown(float(np.mean(some)) if some else _NONE, 2) for some in values)))
    return table(("attribute", *groups), rows)


def write_csv(groups: Groups, path: Path):
    """A row a picture, those that failed too; "clip attributes" has a cosine for each attribute."""
    header = ("condition", "person", "prompt", "text", "attributes", "named", "seed", "file", "error", "face found",
              "likeness", "clip prompt", "clip attributes", "seconds")  # fmt: skip
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(header)
        for one in (one for some in groups.values() for one in some):
            cosines = [one.cosines.get(text) for text in (one.text, *one.phrases)]
            first, *others = ("" if cosine is None else f"{cosine:.5f}" for cosine in cosines)
            table.writerow((
                one.condition, one.person, one.prompt, one.text, "; ".join(one.phrases), len(one.phrases), one.seed,
                "" if one.file is None else one.file.relative_to(path.parent).as_posix(), one.error or "",
                "" if one.error else int(one.likeness is not None),
                "" if one.likeness is None else f"{one.likeness:.5f}", first, "; ".join(others),
                "" if one.seconds is None else f"{one.seconds:.3f}",
            ))  # fmt: skip
