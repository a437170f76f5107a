"""Which run a folder holds: a larger run's pictures are not forgotten because a smaller one was given their folder."""

import json
from pathlib import Path

from likeness.cli.batch import MANIFEST
from likeness.cli.durable import as_line, digest_of, read_lines, write_whole
from likeness.cli.graph import Plan
from likeness.cli.problems import Usage

from .graph import PICTURE, Graph, behind
from .prompts import Prompt
from .work import Person

RUN = "run.json"


def run_of(graph: Graph, people: list[Person], prompts: list[Prompt], seeds: int, steps: int | None,
           encoder: str) -> dict:  # fmt: skip
    """What makes a run this one, under the words of the command; conditions may come and go. `graph`: measured, with
    the workflow's own steps."""
    return {
        "workflow": Plan(behind(graph, [PICTURE]), {}).digest,
        "references": {person.name: digest_of(person.photograph) for person in people},
        "prompts": [[prompt.text, *prompt.phrases] for prompt in prompts],
        "seeds": seeds,
        "steps": steps,
        "encoder": encoder,
    }


def check_run(run: dict, out: Path):
    """Usage where a folder has pictures of another run."""
    if not anything_done(out) or not (out / RUN).exists():
        return
    held = json.loads((out / RUN).read_bytes())
    others = [name for name in run if held[name] != run[name]]
    if others:
        raise Usage(f"{out} holds pictures of another run (with other {', '.join(others)}); give another --out.")


def note_run(run: dict, out: Path):
    """Write down which run a folder holds."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RUN, [as_line(run)])


def anything_done(out: Path) -> bool:
    """Whether a folder has the result of any picture."""
    return any(True for path in out.glob(f"*/{MANIFEST}") for _ in read_lines(path))
