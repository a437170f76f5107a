"""Cases: a composition, a feature of the pack in it, and what the picture has to equal."""

import contextlib
import logging
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import torch

CASES = []
TOLERANCE = 1e-3  # of latents whose values are around 1; runs in single precision differ by 1e-6 to 1e-4
_CLEAR = 10  # an effect less than this many tolerances tells nothing


@dataclass(frozen=True)
class Outcome:
    """What a composition gave, what it has to equal, and the same without what is at stake (for its size).

    Tensors of one shape, or numbers. `without` None: there is no size to tell.
    """

    value: torch.Tensor | float
    reference: torch.Tensor | float
    without: torch.Tensor | float | None


@dataclass(frozen=True)
class Case:
    """One row of the table. `make(bench, put)` returns an Outcome; `put` applies the feature.

    `pack`: the folder of another pack that it needs. `may_say`: no right value can be reached here, so that a warning
    of the pack's own in the log will do.
    """

    composition: str
    feature: str
    against: str
    make: Callable
    family: str
    tolerance: float
    pack: str | None
    may_say: bool

    @property
    def words(self) -> str:
        return " ".join((self.family, self.composition, self.feature, self.against, self.pack or "core")).lower()


@dataclass(frozen=True)
class Found:
    """A judged case. `verdict`: right, said, or what is wrong."""

    case: Case
    off: float
    effect: float | None
    verdict: str

    @property
    def is_right(self) -> bool:
        return self.verdict in ("right", "said")

    def row(self) -> list[str]:
        effect = "" if self.effect is None else f"{self.effect:.2g}"
        where = f"{self.case.composition} ({self.case.pack})" if self.case.pack else self.case.composition
        return [where, self.case.feature, self.case.against, f"{self.off:.1g}", effect, f"{self.case.tolerance:g}",
                self.verdict]  # fmt: skip


HEAD = ["composition", "feature", "has to equal", "off by", "effect", "tolerance", "verdict"]


def in_short(rows: list[list[str]]) -> list[list[str]]:
    """Rows of one composition and reference, as HEAD has them, in one: all features, the worst of each column."""
    groups = {}
    for row in rows:
        groups.setdefault((row[0], row[2], row[6]), []).append(row)
    return [
        [where, "; ".join(row[1] for row in group), against, max((row[3] for row in group), key=float),
         min((row[4] for row in group if row[4]), key=float, default=""), group[0][5], verdict]
        for (where, against, verdict), group in groups.items()
    ]  # fmt: skip


def case(composition, against, features, tolerance=TOLERANCE, pack=None, may_say=False):
    """Decorator: one case for each of `features` (names in bench.FEATURES)."""

    def add(make):
        family = make.__module__.rpartition(".")[2]
        for feature in features:
            CASES.append(Case(composition, feature, against, make, family, tolerance, pack, may_say))
        return make

    return add


def judge(one: Case, bench) -> Found:
    """Run a case. Whatever it raises is a verdict too."""
    said = _Said()
    root = logging.getLogger()
    root.addHandler(said)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where the table is, no other pack shall talk
            outcome = one.make(bench, bench.feature(one.feature))
    except Exception as error:  # a composition that ends in an error is a finding, not the end of the table
        return Found(one, math.nan, None, f"**{type(error).__name__}**: {_short(error)}")
    finally:
        root.removeHandler(said)
        if one.pack:
            comfy.model_management.unload_all_models()  # or what another pack put into the model would stay there
    off = difference(outcome.value, outcome.reference)
    effect = None if outcome.without is None else difference(outcome.reference, outcome.without)
    is_right, is_clear = off <= one.tolerance, effect is None or effect >= _CLEAR * one.tolerance
    if is_right and is_clear:
        return Found(one, off, effect, "right")
    if one.may_say and said.sentences:
        return Found(one, off, effect, "said")
    return Found(one, off, effect, "**tells nothing**" if is_right else "**off**")


def difference(value, other) -> float:
    """The largest difference of two tensors or numbers."""
    if isinstance(value, torch.Tensor):
        return float((value.float() - other.float()).abs().max())
    return abs(value - other)


def markdown(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def _short(error):
    return str(error).split("\n")[0].replace("|", "/")[:100]


class _Said(logging.Handler):
    """The pack's own sentences in the log."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.sentences = []

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("Likeness"):
            self.sentences.append(text)
