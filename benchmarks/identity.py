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

from facelets.pack import SHIPPED  # noqa: E402
from ruler import conditions  # noqa: E402
from ruler.command import SCORES, arguments  # noqa: E402
from ruler.conditions import BASE, ILL  # noqa: E402
from ruler.figures import Score, markdown  # noqa: E402
from ruler.gather import gathered  # noqa: E402
from ruler.report import trade_off, traits, verdict  # noqa: E402
from ruler.report.people import ENOUGH  # noqa: E402
from ruler.report.plot import plot  # noqa: E402
from ruler.report.sheets import contact_sheet  # noqa: E402
from ruler.stack import Stopped  # noqa: E402
from ruler.task import TUNING, people, person  # noqa: E402
from ruler.work import SHOWN, Options, measure_person  # noqa: E402

SHEET = 8  # people on a contact sheet
CURED_SHEET = (BASE, ILL, conditions.FAINTER, "adapter-from-0.3+control", "freecure", conditions.CURE)
FEW = f"Fewer than {ENOUGH} people: take no number here for a result.\n"


def faceless(compared: bool) -> str:
    """What a picture without a face counts in the tables that are there, and what a dash means."""
    like_nobody = "as a cosine of 0 in the disease, the trade, the leads and the plot, " if compared else ""
    return (
        "A picture without a face counts for nothing in the cosines, the AUC and the landmarks of the first table, "
        f"{like_nobody}and like any other wherever the judge reads it. A dash: not measured, or not asked for in these "
        "prompts.\n"
    )


def options_of(given: argparse.Namespace) -> Options:
    measured, compared = people(given.first, given.identities, given.tune)
    return Options(tuple(given.conditions), measured, compared, given.prompts, given.seeds, given.steps, given.sampler,
                   given.cfg, tuple(given.phrases), given.folder, given.architecture, given.judge)  # fmt: skip


def measure(options: Options, processes: int, out: Path) -> tuple[list[Score], dict]:
    """Scores and pictures of everybody; the scores are written as they come."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = gathered(options, pool.imap(partial(measure_person, options), options.people), out / SCORES)
        pool.close()
        pool.join()  # so that workers end on their own
    return found


def tables(options: Options, scores: list[Score]) -> str:
    """All tables that the measured conditions allow."""
    prompts = options.prompts * len(options.phrases)
    side = "settings may be chosen on them" if options.people[0] in TUNING else "no choice has seen them"
    size = f"people: {len(options.people)} ({side}), prompts each: {prompts}, seeds: {options.seeds}"
    compared = {ILL, BASE} <= set(options.conditions)
    sampling = f"{options.architecture}, {options.steps} steps of {options.sampler}, CFG {options.cfg:g}"
    parts = [f"{size}; {sampling}\n"]
    if len(options.people) < ENOUGH:
        parts.append(FEW)
    parts += [markdown(scores), faceless(compared)]
    parts.append(traits.markdown(scores, traits.read_well(options.judge)))
    if compared:
        parts.append(trade_off.disease_markdown(scores, ILL, BASE, conditions.FAINTER, conditions.FAINTER_WEIGHT))
    rivals = conditions.measured_curves(conditions.RIVALS, options.conditions)
    cures = [name for name in options.conditions if name in conditions.CURING]
    if compared and (rivals or cures):
        parts.append(trade_off.markdown(scores, ILL, BASE))
    if rivals and cures:
        parts.append(verdict.markdown(scores, cures, rivals, ILL))
    return "\n".join(parts)


def write_plot(options: Options, scores: list[Score], path: Path) -> list[str]:
    """The name of what is written, if the conditions make a plot."""
    curves = [conditions.measured_curves(some, options.conditions) for some in (conditions.RIVALS, conditions.CURES)]
    if BASE in options.conditions and any(curves):
        others = [name for name in conditions.WAYS if name in options.conditions]
        plot(scores, *curves, others, BASE).savefig(path, dpi=110)
        return [path.name]
    return []


def write_sheets(options: Options, scores: list[Score], shown: dict, folder: Path) -> list[str]:
    """The names of what is written."""
    files = []
    shown_people = options.people[:SHEET]
    references = [person(number).reference.image for number in shown_people]
    texts = {(score.person, score.prompt, score.phrases): score.text for score in scores}
    names = CURED_SHEET if options.conditions == conditions.CURED else options.conditions
    for at, asked in enumerate([*product(range(options.prompts), options.phrases)][:SHOWN]):
        rows = {name: [shown[name, at, number] for number in shown_people] for name in names}
        prompts = [texts[(number, *asked)] for number in shown_people]
        contact_sheet(prompts, {"reference": references, **rows}, folder / f"sheet_{at + 1}.png")
        files.append(f"sheet_{at + 1}.png")
    return files


def main():
    given = arguments(about=__doc__)
    options = options_of(given)
    try:
        scores, shown = measure(options, given.processes, given.out)
    except Stopped as why:
        sys.exit(f"{options.folder or SHIPPED}: {why}")
    text = tables(options, scores)
    (given.out / "table.md").write_text(text)
    print(text, flush=True)
    files = write_plot(options, scores, given.out / "trade_off.png") + write_sheets(options, scores, shown, given.out)
    print(f"In {given.out}: {', '.join(['table.md', SCORES, *files])}")


if __name__ == "__main__":
    main()
