"""What is done at a server for a batch, in a thread or in a task of Ray's: plain functions of plain values."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from .durable import unwritable
from .graph import Plan, upload_name
from .problems import Disk, Lost, Problem, Refused
from .results import collect, gate, scores, seconds
from .sentences import failure, was_interrupted
from .server import Server

_AGAIN = 0.5  # seconds between two knocks at a server that is away
_SETTLE = 2.0  # seconds in which a prompt that was sent off just before a kill has come through ComfyUI's validation


@dataclass(frozen=True)
class Order:
    """One prompt for one server. `known`: the server has it already, from before a kill."""

    address: str
    headers: dict
    plan: Plan
    prompt_id: str
    folder: Path
    previews: bool
    known: bool


@dataclass(frozen=True)
class Outcome:
    """How an order ended: "done", "failed" (by itself: it would again), "refused" (by this server), "lost" (the server
    is away or forgot it) or "interrupted" (by somebody at the server). `seconds`: how long the server worked on it."""

    status: str
    error: str | None = None
    files: list = field(default_factory=list)
    scores: dict = field(default_factory=dict)
    gate: str | None = None
    seconds: float | None = None


def attempt(order: Order) -> Outcome:
    """Queue, wait, download. Only a disk that can't be written raises: Disk."""
    with Server(order.address, order.headers) as server:
        try:
            return _attempt(server, order)
        except Refused as error:
            return Outcome("refused", str(error))
        except Lost as error:
            return Outcome("lost", str(error))
        except Disk:
            raise
        except Problem as error:
            return Outcome("failed", str(error))
        except OSError as error:
            raise unwritable(order.folder, error) from error


def _attempt(server, order):
    graph = order.plan.graph
    if not order.known:
        graph = _with_uploads(server, order.plan)
        server.listen()
        try:
            server.queue(graph, order.prompt_id)
        except Lost:
            pass  # whether it got there is what waiting finds out
    entry = server.wait(order.prompt_id)
    failed = failure(graph, entry)
    if failed:
        return Outcome("interrupted" if was_interrupted(entry) else "failed", failed)
    files = collect(server, graph, entry, order.folder, order.previews)
    found = scores(entry, graph)
    return Outcome("done", None, files, found, gate(found), seconds(entry))


def _with_uploads(server, plan):
    graph = dict(plan.graph)
    for (node_id, key), path in plan.uploads.items():
        name = graph[node_id]["inputs"][key]
        if upload_name(path) != name:
            raise Problem(f"{path} was changed while the batch ran; run the same command again.")
        graph[node_id] = {**graph[node_id], "inputs": {**graph[node_id]["inputs"], key: server.upload(path, name)}}
    return graph


def greet(address: str, headers: dict, prompt_ids: list[str], patience: float) -> set[str] | str:
    """Wait until a server is up; returns which of these prompts it has, or why it isn't up after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        with Server(address, headers) as server:
            try:
                server.check()
                found = {one for one in prompt_ids if server.find(one)}
                if len(found) < len(prompt_ids):
                    time.sleep(_SETTLE)
                    found = {one for one in prompt_ids if server.find(one)}
                return found
            except Problem as error:
                if time.monotonic() > deadline:
                    return str(error)
        time.sleep(_AGAIN)


def withdraw(address: str, headers: dict, prompt_id: str):
    """Stop a prompt at a server, for another one has it now."""
    with Server(address, headers) as server:
        try:
            server.withdraw(prompt_id)
        except Problem:
            pass  # then it runs no more
