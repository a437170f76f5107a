"""How well a person is kept, and the prompt and the pose with it: drawn portraits through ComfyUI, against truth.

    make bench-identity                 # the adapter
    make bench-identity ARGS=--cured    # the cure, on prompts of one, two and three attributes
    make bench-identity ARGS="--cured --tune"    # the same on other people, to choose settings on

Each person has one reference portrait; each prompt contradicts it, in every attribute that a prompt can name or in a
few. The same prompts, poses and noise go through every condition. Without --tune people, prompts and noise are such as
no choice has seen. The tables, a row per picture, contact sheets and a plot go to out/bench-identity. Same options,
same numbers, apart from the times.
"""

import argparse
import multiprocessing
import os
import sys
from functools import partial
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
# Read when a worker starts: one thread each, and glibc keeps the tensors' memory between steps.
os.environ |= {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "2147483648", "MALLOC_TRIM_THRESHOLD_": "8589934592"}

from ruler import conditions  # noqa: E402
from ruler.conditions import BASE, DRAWING, ILL  # noqa: E402
from ruler.figures import Score, markdown, write_csv  # noqa: E402
from ruler.report import trade_off, traits, verdict  # noqa: E402
from ruler.report.plot import plot  # noqa: E402
from ruler.report.sheets import contact_sheet  # noqa: E402
from ruler.task import TUNING, UNSEEN, people, person  # noqa: E402
from ruler.work import SHOWN, WEIGHTS, Options, measure_person  # noqa: E402

SHEET = 8  # people on a contact sheet
RECORD = {"identities": 24, "prompts": 6, "seeds": 2}
# Errors are those over people: many of them, and few pictures of each.
CURED_RECORD = {"identities": 48, "prompts": 1, "seeds": 1, "phrases": [1, 2, 3], "conditions": conditions.CURED}
CURED_SHEET = (BASE, ILL, conditions.FAINTER, "adapter-from-0.3+control", "freecure", conditions.CURE)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--conditions", nargs="+", choices=[DRAWING, *conditions.KNOWN], default=[DRAWING, *conditions.CONDITIONS]
    )
    parser.add_argument("--tune", action="store_true", help="people to choose settings on, instead of unseen ones")
    parser.add_argument("--identities", type=int, default=12, help="people")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--prompts", type=int, default=6, help="per person, and number of phrases if given")
    parser.add_argument("--phrases", type=int, nargs="+", default=[None], help="in a prompt; default: everything")
    parser.add_argument("--seeds", type=int, default=2, help="per prompt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--record", action="store_true", help="as many pictures as benchmarks/README.md has")
    parser.add_argument("--cured", action="store_true", help="the same for the cure")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Facelets' weights, instead of those that ship")
    parser.add_argument("--judge", type=Path, default=WEIGHTS, help="its weights, with the list of its traits beside")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench-identity")
    options = parser.parse_args()
    for chosen, preset in ((options.record, RECORD), (options.cured, CURED_RECORD)):
        if chosen:
            parser.set_defaults(**preset)
    given = parser.parse_args()
    if given.first + given.identities > len(TUNING if given.tune else UNSEEN):
        parser.error(f"there are {len(TUNING)} people to choose settings on, and {len(UNSEEN)} others")
    if not traits.list_of(given.judge).exists():
        parser.error(f"there is no {traits.list_of(given.judge)}: `python -m facelets.verify_judge --write` makes it")
    return given


def options_of(given: argparse.Namespace) -> Options:
    measured, compared = people(given.first, given.identities, given.tune)
    return Options(tuple(given.conditions), measured, compared, given.prompts, given.seeds, given.steps, given.cfg,
                   tuple(given.phrases), given.folder, given.judge)  # fmt: skip


def measure(options: Options, processes: int) -> tuple[list[Score], dict]:
    """Scores in the order of the conditions, people, prompts and seeds, and pictures by (condition, prompt, person)."""
    scores, shown = [], {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        measured = pool.imap(partial(measure_person, options), options.people)
        for done, (number, (own, pictures)) in enumerate(zip(options.people, measured, strict=True), 1):
            scores += own
            shown |= {(*key, number): picture for key, picture in pictures.items()}
            print(f"person {done} of {len(options.people)}", file=sys.stderr, flush=True)
        pool.close()
        pool.join()  # so that workers end on their own
    return sorted(scores, key=lambda score: options.conditions.index(score.condition)), shown


def tables(options: Options, scores: list[Score]) -> str:
    """All tables that the measured conditions allow."""
    prompts = options.prompts * len(options.phrases)
    side = "settings may be chosen on them" if options.people[0] in TUNING else "no choice has seen them"
    size = f"{len(options.people)} people ({side}), {prompts} prompts each, {options.seeds} seeds"
    parts = [f"{size}; {options.steps} steps of Euler, CFG {options.cfg:g}\n", markdown(scores)]
    parts.append(traits.markdown(scores, traits.read_well(options.judge)))
    if {ILL, BASE} <= set(options.conditions):
        parts.append(trade_off.disease_markdown(scores, ILL, BASE, conditions.FAINTER))
        parts.append(trade_off.markdown(scores, ILL, BASE))
    rivals = conditions.measured_curves(conditions.RIVALS, options.conditions)
    cures = [name for name in options.conditions if name in conditions.CURING]
    if rivals and cures:
        parts.append(verdict.markdown(scores, cures, rivals, ILL))
    return "\n".join(parts)


def write_plot(options: Options, scores: list[Score], path: Path):
    curves = [conditions.measured_curves(some, options.conditions) for some in (conditions.RIVALS, conditions.CURES)]
    if BASE in options.conditions and any(curves):
        others = [name for name in conditions.WAYS if name in options.conditions]
        plot(scores, *curves, others, BASE).savefig(path, dpi=110)


def write_sheets(options: Options, scores: list[Score], shown: dict, folder: Path):
    shown_people = options.people[:SHEET]
    references = [person(number).reference.image for number in shown_people]
    texts = {(score.person, score.prompt, score.phrases): score.text for score in scores}
    names = CURED_SHEET if options.conditions == conditions.CURED else options.conditions
    for at, asked in enumerate([*product(range(options.prompts), options.phrases)][:SHOWN]):
        rows = {name: [shown[name, at, number] for number in shown_people] for name in names}
        prompts = [texts[(number, *asked)] for number in shown_people]
        contact_sheet(prompts, {"reference": references, **rows}, folder / f"sheet_{at + 1}.png")


def main():
    given = arguments()
    options = options_of(given)
    scores, shown = measure(options, given.processes)
    given.out.mkdir(parents=True, exist_ok=True)
    text = tables(options, scores)
    (given.out / "table.md").write_text(text)
    write_csv(scores, given.out / "scores.csv", traits.read_well(options.judge))
    write_plot(options, scores, given.out / "trade_off.png")
    write_sheets(options, scores, shown, given.out)
    print(text)


if __name__ == "__main__":
    main()
