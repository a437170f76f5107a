"""How well a person is kept, and the prompt and the pose with it: drawn portraits through ComfyUI, against truth.

    make bench-identity                 # the adapter
    make bench-identity ARGS=--cured    # the cure, on prompts of one, two and three attributes

Each person has one reference portrait; each prompt contradicts it, in every attribute that a prompt can name or in a
few. The same prompts, poses and noise go through every condition. The tables, a row per picture and contact sheets go
to out/bench-identity. Same options, same numbers, apart from the times.
"""

import argparse
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
# Read when a worker starts: one thread each, and glibc keeps the tensors' memory between steps.
os.environ |= {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "2147483648", "MALLOC_TRIM_THRESHOLD_": "8589934592"}

from ruler import trade_off  # noqa: E402
from ruler.conditions import CONDITIONS, CURED, DRAWING, ILL, KNOWN, LOWERED, STRENGTHS, WAYS  # noqa: E402
from ruler.figures import markdown, write_csv  # noqa: E402
from ruler.sheets import contact_sheet  # noqa: E402
from ruler.task import person  # noqa: E402
from ruler.work import SHOWN, WEIGHTS, Options, measure_person  # noqa: E402

SHEET = 12  # people on a contact sheet
# What benchmarks/README.md quotes.
RECORD = {"identities": 24, "prompts": 6, "seeds": 2}
CURED_RECORD = {"identities": 16, "prompts": 2, "seeds": 1, "phrases": [1, 2, 3], "conditions": CURED}
CURED_SHEET = ("base", ILL, "adapter-0.2+control", "freecure", "cure-1.0")
CURVES = {"adapter weight": list(LOWERED), "strength of the cure": [ILL, *STRENGTHS]}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conditions", nargs="+", choices=[DRAWING, *KNOWN], default=[DRAWING, *CONDITIONS])
    parser.add_argument("--identities", type=int, default=12, help="people")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--prompts", type=int, default=6, help="per person, and number of phrases if given")
    parser.add_argument("--phrases", type=int, nargs="+", default=[None], help="in a prompt; default: everything")
    parser.add_argument("--seeds", type=int, default=2, help="per prompt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--record", action="store_true", help="the setting of the numbers in benchmarks/README.md")
    parser.add_argument("--cured", action="store_true", help="the same for the cure")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Facelets' weights, instead of those that ship")
    parser.add_argument("--judge", type=Path, default=WEIGHTS)
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench-identity")
    options = parser.parse_args()
    for chosen, preset in ((options.record, RECORD), (options.cured, CURED_RECORD)):
        if chosen:
            parser.set_defaults(**preset)
    return parser.parse_args()


def measure(options: Options, processes: int):
    """Scores in the order of the conditions, people, prompts and seeds, and pictures by (condition, prompt, person)."""
    scores, shown = [], {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        numbers = range(options.first, options.identities)
        for number, (own, pictures) in zip(numbers, pool.imap(partial(measure_person, options), numbers), strict=True):
            scores += own
            shown |= {(*key, number): picture for key, picture in pictures.items()}
            print(f"person {number + 1} of {options.identities}", file=sys.stderr, flush=True)
        pool.close()
        pool.join()  # so that workers end on their own
    return sorted(scores, key=lambda score: options.conditions.index(score.condition)), shown


def write_sheets(options: Options, shown: dict, folder: Path):
    people = range(options.first, options.identities)[:SHEET]
    references = [person(number).reference.image for number in people]
    for prompt in range(min(SHOWN, options.prompts * len(options.phrases))):
        names = CURED_SHEET if options.conditions == CURED else options.conditions
        rows = {name: [shown[name, prompt, number] for number in people] for name in names}
        contact_sheet({"reference": references, **rows}, folder / f"sheet_{prompt + 1}.png")


def main():
    given = arguments()
    count = given.first + given.identities
    options = Options(tuple(given.conditions), count, given.prompts, given.seeds, given.steps, given.cfg,
                      tuple(given.phrases), given.first, given.folder, given.judge)  # fmt: skip
    scores, shown = measure(options, given.processes)
    given.out.mkdir(parents=True, exist_ok=True)
    size = f"{given.identities} people, {options.prompts * len(options.phrases)} prompts each, {options.seeds} seeds"
    text = f"{size}; {options.steps} steps of Euler, CFG {options.cfg:g}\n\n{markdown(scores)}"
    if {ILL, "base"} <= set(options.conditions):
        text += "\n" + trade_off.markdown(scores, ILL, "base")
    if set(CURED) <= set(options.conditions):
        trade_off.plot(scores, CURVES, list(WAYS), given.out / "trade_off.png")
    (given.out / "table.md").write_text(text)
    write_csv(scores, given.out / "scores.csv")
    write_sheets(options, shown, given.out)
    print(text)


if __name__ == "__main__":
    main()
