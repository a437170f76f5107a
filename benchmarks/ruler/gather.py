"""What the workers measure, put together and written down person by person."""

import sys
from collections.abc import Iterable
from pathlib import Path

from .figures import Score, write_csv
from .report.traits import read_well
from .work import Options


def gathered(options: Options, measured: Iterable, path: Path) -> tuple[list[Score], dict]:
    """Scores in the order of the conditions, people, prompts and seeds, and pictures by (condition, prompt, person), of
    what `measure_person` returns of each. After every person the scores so far are in the file, so that nothing that
    fails later costs them."""
    scores: list[Score] = []
    shown: dict = {}
    for done, (number, (own, pictures)) in enumerate(zip(options.people, measured, strict=True), 1):
        scores = sorted(scores + own, key=lambda score: options.conditions.index(score.condition))
        shown |= {(*key, number): picture for key, picture in pictures.items()}
        write_csv(scores, path, read_well(options.judge))
        print(f"person {done} of {len(options.people)}", file=sys.stderr, flush=True)
    return scores, shown
