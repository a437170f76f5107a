"""`batch`: every row of a table once, on several servers, whatever is killed in between."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from . import graph as graphs
from .durable import Lines, as_line, is_whole, locked, read_lines, write_whole
from .engines import engine
from .problems import Lost, Usage, shown
from .progress import bar, say
from .run import first_that_answers
from .scheduler import Scheduler
from .table import Row, columns_of, read

MANIFEST, QUEUED, LOCK = "manifest.jsonl", "queued.jsonl", ".lock"
_GATE = "IDSimilarity"
_NOTED = ("row", "work", "server", "prompt_id")  # what a line of QUEUED holds


@dataclass(frozen=True)
class Options:
    """What a batch is told besides its table and workflow. `ahead`: prompts that each server has at once, so that it
    works while results are fetched; `tries`: servers that may fail under a row; `patience`: seconds to wait for one."""

    servers: list[str]
    headers: dict = field(default_factory=dict)
    threshold: float | None = None
    engine: str = "plain"
    key: str = "key"
    previews: bool = False
    retry_failed: bool = False
    ahead: int = 2
    tries: int = 3
    patience: float = 30.0


@dataclass(eq=False)
class Job:
    """A row on its way. `plan` None: it can't be queued, for the reason in `error`. `refusals`: server -> its reason.
    `queued`: (server, prompt id) of a prompt from before a kill."""

    row: Row
    plan: graphs.Plan | None
    error: str | None
    inputs: dict
    others: dict
    tries: int = 0
    refusals: dict = field(default_factory=dict)
    queued: tuple[str, str] | None = None

    @property
    def digest(self) -> str | None:
        return None if self.plan is None else self.plan.digest

    def record(self, outcome, server: str | None = None, prompt_id: str | None = None) -> dict:
        """Its line in the manifest."""
        return {
            "row": self.row.key,
            "status": outcome.status,
            "gate": outcome.gate,
            "scores": outcome.scores,
            "files": outcome.files,
            "seconds": outcome.seconds,
            "error": outcome.error,
            "inputs": self.inputs,
            "table": self.others,
            "prompt_id": prompt_id,
            "server": server,
            "work": self.digest,
        }


def batch(table: Path, workflow: Path, out: Path, options: Options) -> dict:
    """Do every row that is not done yet; returns the counts that are printed.

    Lost when no server is left; what is done by then stays, and the same command goes on from there.
    """
    graph, rows = graphs.load(workflow), read(table, options.key)
    for name in columns_of(rows):
        if _is_input(name):  # before anything is made or asked for
            graphs.find(graph, graphs.split(name)[0])
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK):
        with _patiently(options) as server:
            infos = server.infos(graph)
        inputs = {name: graphs.input_of(graph, infos, name) for name in columns_of(rows) if _is_input(name)}
        base = _with_threshold(graph, infos, options.threshold)
        return run_jobs([_job(base, inputs, row, table.parent) for row in rows], out, options)


def run_jobs(jobs: list[Job], out: Path, options: Options) -> dict:
    """Do every job that is not done yet, in a folder that is there and locked; returns the counts."""
    records = {record["row"]: record for record in read_lines(out / MANIFEST) if _is_result(record)}
    left = [job for job in jobs if not _is_done(job, records.get(job.row.key), out, options.retry_failed)]
    _find_queued(left, records, out)
    manifest, queued = Lines(out / MANIFEST), Lines(out / QUEUED)
    rows, at_work = bar(len(jobs), " rows"), engine(options.engine)

    def settle(job, record):
        manifest.append(record)
        records[job.row.key] = record
        if record["status"] == "failed":
            say(f"{job.row.key}: {shown(record['error'])}")
        _show(rows, _counts(jobs, records))

    for job in left:
        _remove_old(out, records.pop(job.row.key, None))
    try:
        Scheduler(left, options, at_work, out, queued.append, settle, say).run()
    finally:
        rows.close()
        at_work.close()
        manifest.close()
        queued.close()
    write_whole(out / MANIFEST, (as_line(records[job.row.key]) for job in jobs))
    (out / QUEUED).unlink()
    return {**_counts(jobs, records), "manifest": str(out / MANIFEST)}


def _is_input(column):
    return "." in column


def _patiently(options):
    deadline = time.monotonic() + options.patience
    while True:
        try:
            return first_that_answers(options.servers, options.headers)
        except Lost:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def _with_threshold(graph, infos, threshold):
    if threshold is None:
        return graph
    gates = [node_id for node_id, node in graph.items() if node["class_type"] == _GATE]
    if not gates:
        raise Usage(f"--threshold is for {_GATE} nodes, and the workflow has none; add one, or leave it away.")
    settings = [graphs.input_of(graph, infos, f"{node_id}.threshold").takes(threshold) for node_id in gates]
    return graphs.apply(graph, settings, Path()).graph


def _job(graph, inputs, row, folder):
    own = {name: value for name, value in row.cells.items() if name in inputs}
    others = {name: value for name, value in row.cells.items() if name not in inputs}
    try:
        plan = graphs.apply(graph, [inputs[name].takes(value) for name, value in own.items()], folder)
        return Job(row, plan, None, own, others)
    except Usage as error:
        return Job(row, None, str(error), own, others)


def _is_result(record):
    """Whether a line is one that a batch wrote: another's, or a damaged one, counts as if it were not there."""
    files = record.get("files")
    return (
        _has_texts(record, ("row",))
        and record.get("status") in ("done", "failed")
        and {"gate", "work"} <= record.keys()
        and isinstance(files, list)
        and all(isinstance(file, dict) and _has_texts(file, ("path", "sha256")) for file in files)
    )


def _has_texts(record, keys):
    return all(isinstance(record.get(key), str) for key in keys)


def _is_done(job, record, out, retry_failed):
    """Whether a whole line says that this very work is done, and its files are there with their hashes."""
    if record is None or job.plan is None or record["work"] != job.digest:
        return False
    if record["status"] == "failed":
        return not retry_failed
    return all(is_whole(_place(out, job.row.key, file), file["sha256"]) for file in record["files"])


def _place(out, key, file):
    return out / key / Path(file["path"]).name


def _remove_old(out, record):
    """Take away the files of a line that counts no more, so that a folder holds what its new line says."""
    for file in () if record is None else record["files"]:
        _place(out, record["row"], file).unlink(missing_ok=True)


def _find_queued(jobs, records, out):
    """Note which prompts a killed run may have left at a server: the last of each row, for the same work.

    A row that is to be tried again has none: its failed prompt would only be found to have failed.
    """
    last = {record["row"]: record for record in read_lines(out / QUEUED) if _has_texts(record, _NOTED)}
    for job in jobs:
        record = last.get(job.row.key)
        failed = job.row.key in records and records[job.row.key]["status"] == "failed"
        if record is not None and record["work"] == job.digest and not failed:
            job.queued = record["server"], record["prompt_id"]


def _counts(jobs, records):
    found = [records[job.row.key] for job in jobs if job.row.key in records]
    counts = {"rows": len(jobs)}
    counts |= {status: sum(one["status"] == status for one in found) for status in ("done", "failed")}
    return counts | {gate: sum(one["gate"] == gate for one in found) for gate in ("accepted", "rejected", "skipped")}


def _show(rows, counts):
    words = [f"{counts[name]} {name}" for name in ("failed", "accepted", "rejected", "skipped") if counts[name]]
    rows.set_postfix_str(", ".join(words), refresh=False)
    rows.update(counts["done"] + counts["failed"] - rows.n)
