"""The ruler's command line: what may be asked for, and one sentence at once for what may not."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from textwrap import fill

from facelets.pack import SHIPPED

from . import conditions
from .conditions import DRAWING
from .report import traits
from .stack import ARCHITECTURES, SAMPLING
from .task import MOST_PHRASES, TUNING, UNSEEN
from .work import WEIGHTS

_OUT = Path(__file__).resolve().parents[2] / "out/bench-identity"
SCORES = "scores.csv"
RECORD = {"identities": 24, "prompts": 6, "seeds": 1}
# Errors are those over people: many of them, and few pictures of each.
CURED_RECORD = {"identities": 48, "prompts": 1, "seeds": 1, "phrases": [1, 2, 3], "conditions": conditions.CURED}


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """For argparse: a whole number within these bounds."""

    def read(text: str) -> int:
        number = int(text)
        if number < least or (most is not None and number > most):
            bounds = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"has to be {bounds}, not {number}")
        return number

    read.__name__ = "whole number"  # argparse names it where the text is none
    return read


def _number(text: str) -> float:
    """For argparse: a finite number."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"has to be a number, not {text}")
    return number


_number.__name__ = "number"  # argparse names it where the text is none


def arguments(words: list[str] | None = None, about: str | None = None) -> argparse.Namespace:
    """What is asked for, by these words or the command line's; the folder for what comes out is there."""
    parser = _parser(about)
    options = parser.parse_args(words)
    for chosen, preset in ((options.record, RECORD), (options.cured, CURED_RECORD)):
        if chosen:
            parser.set_defaults(**preset)
    parser.set_defaults(**SAMPLING[options.architecture]._asdict())
    given = parser.parse_args(words)
    there = len(TUNING if given.tune else UNSEEN)
    if given.first + given.identities > there:
        parser.error(
            f"--first {given.first} and --identities {given.identities} go beyond the {there} people there are"
        )
    model = (given.folder or SHIPPED) / f"{given.architecture}.safetensors"
    if not model.is_file():
        parser.error(
            f"there is no {model}: what does not ship has to be trained (`make facelets`); --folder says where it is"
        )
    if not given.judge.is_file():
        parser.error(f"there is no judge {given.judge}")
    if not traits.list_of(given.judge).exists():
        parser.error(f"there is no {traits.list_of(given.judge)}: `python -m facelets.verify_judge --write` makes it")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        open(given.out / SCORES, "a").close()  # can it be written? what lies there stays until somebody is measured
    except OSError as problem:
        parser.error(f"--out {given.out} cannot be written: {problem.strerror}")
    return given


def _parser(about: str | None) -> argparse.ArgumentParser:
    usual = [DRAWING, *conditions.CONDITIONS]
    others = [name for name in conditions.KNOWN if name not in usual]
    lists = (f"the usual conditions: {' '.join(usual)}", f"others: {' '.join(others)}")
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options]; see --help",
        description=about,
        epilog="\n".join(fill(some, 100, break_on_hyphens=False) for some in lists),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--conditions", nargs="+", choices=[*usual, *others], default=usual, metavar="NAME",
        help="what is compared, of those below; default: the usual ones")  # fmt: skip
    add("--tune", action="store_true", help="people to choose settings on; default: people whom no choice has seen")
    add("--identities", type=_whole(1), default=12, metavar="N", help="people; default: %(default)s")
    add("--first", type=_whole(0), default=0, metavar="N",
        help="how many are left out before them; default: %(default)s")  # fmt: skip
    add("--prompts", type=_whole(1), default=6, metavar="N",
        help="per person, and number of phrases if given; default: %(default)s")  # fmt: skip
    add("--phrases", type=_whole(1, MOST_PHRASES), nargs="+", default=[None], metavar="N",
        help=f"how many a prompt names, 1 to {MOST_PHRASES}; default: everything, absent things too")  # fmt: skip
    add("--seeds", type=_whole(1), default=2, metavar="N", help="pictures per prompt; default: %(default)s")
    names, guided, steps = zip(*SAMPLING.values(), strict=True)
    add("--steps", type=_whole(1), metavar="N", help=f"of the sampler; default: {_of_each(steps)}")
    add("--sampler", choices=names, help=f"default: {_of_each(names)}")
    add("--cfg", type=_number, metavar="X", help=f"guidance; default: {_of_each(guided)}")
    add("--record", action="store_true",
        help=f"as many pictures as benchmarks/README.md has; default: {_said(RECORD)}")  # fmt: skip
    add("--cured", action="store_true",
        help=f"the cure and its rivals, all conditions but the plain ones; default: {_said(CURED_RECORD)}")  # fmt: skip
    add("--processes", type=_whole(1), default=2, metavar="N", help="that work at a time; default: %(default)s")
    add("--folder", type=Path, help="Facelets' weights; default: those that ship")
    add("--architecture", choices=ARCHITECTURES, default=ARCHITECTURES[0],
        help="of Facelets, as its model's file is called; default: %(default)s")  # fmt: skip
    add("--judge", type=Path, default=WEIGHTS, metavar="FILE",
        help="its weights, with the list of its traits beside; default: %(default)s")  # fmt: skip
    add("--out", type=Path, default=_OUT, metavar="FOLDER", help="for all that comes out; default: %(default)s")
    return parser


def _said(preset: dict) -> str:
    """What an option stands for, as words of the command line."""
    given = {name: value for name, value in preset.items() if name != "conditions"}
    words = [f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
             for name, value in given.items()]  # fmt: skip
    return f"off; stands for {' '.join(words)}"


def _of_each(settings: tuple) -> str:
    """What each architecture has."""
    return ", ".join(f"{one} for {architecture}" for architecture, one in zip(ARCHITECTURES, settings, strict=True))
