"""The pictures: what is asked of the server, and what it gave. Batches of the command line do the work, one for each
condition, so that whatever is stopped or killed goes on where it was."""

import hashlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from likeness.cli.attempt import Outcome
from likeness.cli.batch import LOCK, MANIFEST, Job, Options, run_jobs
from likeness.cli.durable import digest_of, locked, read_lines
from likeness.cli.names import slug
from likeness.cli.problems import Problem, Usage, shown
from likeness.cli.progress import say
from likeness.cli.sentences import failure
from likeness.cli.server import Server
from likeness.cli.table import Row

from .conditions import condition
from .graph import (
    LIKENESS,
    PICTURE,
    REFERENCE,
    Graph,
    Parts,
    asked,
    identity_controls,
    new_node,
    plan_for,
    reference_check,
)
from .prompts import Prompt

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_EXPECTS = "Landmark ControlNet: expected"  # in what LoadIDAdapter says about a file
_BY_WEIGHT = "InfiniteYou"  # its ControlNet is weighed by ApplyIDAdapter, and by nothing else


class PictureJob(Job):
    """A job that has to give one picture: what comes of a workflow that gives several can't be compared."""

    def record(self, outcome: Outcome, server: str | None = None, prompt_id: str | None = None) -> dict:
        if outcome.status == "done":
            _the_picture(outcome.files)
        return super().record(outcome, server, prompt_id)


@dataclass(frozen=True)
class Person:
    """Somebody, and the one photograph of them."""

    name: str
    photograph: Path


@dataclass
class Picture:
    """What came of one person, prompt and seed under one condition. `likeness`: None where no face was found;
    `seconds` by the server's clock; `cosines`: text -> CLIP's cosine to the picture, of the prompt and its phrases."""

    condition: str
    person: str
    prompt: int
    text: str
    phrases: tuple[str, ...]
    seed: int
    error: str | None
    file: Path | None = None
    sha256: str = ""
    likeness: float | None = None
    seconds: float | None = None
    cosines: dict[str, float] = field(default_factory=dict)

    @property
    def case(self) -> tuple[str, int, int]:
        """What it has in common with the pictures that it is compared with."""
        return self.person, self.prompt, self.seed


def read_people(folder: Path) -> list[Person]:
    """A person for each photograph in a folder, by the files' names."""
    if not folder.is_dir():
        raise Usage(f"{folder} is no folder; give one with a photograph of each person.")
    there = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in there if path.suffix.lower() in _PICTURES]
    if not files:
        raise Usage(f"{folder} has no photographs ({', '.join(_PICTURES)}); put one of each person there.")
    if others := ", ".join(path.name for path in there if path not in files):
        say(f"No photographs by their endings ({', '.join(_PICTURES)}), so left out: {shown(others)}")
    people: dict[str, Person] = {}
    for path in files:
        name = slug(path.stem)
        if name in people:
            raise Usage(f"{people[name].photograph.name} and {path.name} would be one person, {name}; rename one.")
        people[name] = Person(name, path)
    return list(people.values())


def check_people(server: Server, graph: Graph, people: list[Person]):
    """Usage, with the names of all photographs in which the measured graph's face encoder finds nobody."""
    faceless = []
    say(f"Looking for a face in {len(people)} photograph{'' if len(people) == 1 else 's'}.")
    for person in people:
        name = server.upload(person.photograph, plan_for(graph, person.photograph).graph[REFERENCE]["inputs"]["image"])
        check = reference_check(graph, name)
        failed = failure(check, _finished(server, check))
        if failed:
            faceless.append(f"{person.photograph.name} ({shown(failed, 200)})")
    if faceless:
        raise Usage(f"Nobody can be measured by {', '.join(faceless)}; take such photographs away or choose another "
                    "--encoder.")  # fmt: skip


def controls_of(server: Server, graph: Graph, parts: Parts) -> tuple[list[str], bool]:
    """ControlNets that read the adapter's identity, and whether their own strength says how much of it."""
    loader = graph[parts.adapter]["inputs"]["adapter"][0]
    if graph[loader]["class_type"] != "LoadIDAdapter":
        return [], False
    asks = {loader: graph[loader], "about": new_node("PreviewAny", source=[loader, 1])}
    entry = _finished(server, asks)
    if failed := failure(asks, entry):
        raise Problem(failed)
    about = entry["outputs"]["about"]["text"][0]
    return (identity_controls(graph, parts), not about.startswith(_BY_WEIGHT)) if _EXPECTS in about else ([], False)


def _finished(server, graph):
    prompt_id = str(uuid.uuid4())
    server.queue(graph, prompt_id)
    return server.wait(prompt_id)


def seed_of(photograph: str, text: str, number: int) -> int:
    """The noise of a picture: the same under every condition, and for nobody else. `photograph`: its SHA-256."""
    return int(hashlib.sha256(f"{photograph} {number} {text}".encode()).hexdigest()[:8], 16)


def jobs_of(name: str, graph: Graph, parts: Parts, people: list[Person], prompts: list[Prompt], seeds: int,
            controls: tuple[list[str], bool]) -> list[Job]:  # fmt: skip
    """What a condition asks of the server, a job a picture."""
    jobs = []
    for person in people:
        plan, photograph = plan_for(graph, person.photograph), digest_of(person.photograph)
        for prompt in prompts:
            changed = condition(name, plan.graph, parts, prompt.text, *controls)
            for number in range(1, seeds + 1):
                seed = seed_of(photograph, prompt.text, number)
                own = type(plan)(asked(changed, parts, prompt.text, seed), plan.uploads)
                told = {"condition": name, "person": person.name, "prompt": prompt.number, "text": prompt.text,
                        "phrases": list(prompt.phrases), "seed": number}  # fmt: skip
                jobs.append(PictureJob(Row(f"{person.name}-{prompt.number:02}-{number}", {}), own, None, {}, told))
    return jobs


def run_condition(jobs: list[Job], out: Path, options: Options) -> list[Picture]:
    """Have a condition's pictures made, those that are not there yet; all of them, in their order."""
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK):
        counts = run_jobs(jobs, out, options)
    say(f"{out.name}: {counts['done']} done, {counts['skipped']} of them without a face; {counts['failed']} failed")
    return [_picture(record, out) for record in read_lines(out / MANIFEST)]


def _picture(record, out):
    told = {**record["table"], "phrases": tuple(record["table"]["phrases"])}
    if record["status"] != "done":
        return Picture(**told, error=record["error"])
    saved = _the_picture(record["files"])
    scores = record["scores"][LIKENESS]["scores"]
    return Picture(**told, error=None, file=out / saved["path"], sha256=saved["sha256"],
                   likeness=scores[0] if scores else None, seconds=record["seconds"])  # fmt: skip


def _the_picture(files):
    found = [file for file in files if file["node"] == PICTURE]
    if len(found) != 1:
        raise Usage(f"The workflow gave {len(found)} pictures for one prompt, and each is to be one; take out what "
                    "repeats them (RepeatLatentBatch, a batch_size from a node).")  # fmt: skip
    return found[0]
