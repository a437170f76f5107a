"""`run`: one workflow on one server, to the end."""

import uuid
from dataclasses import replace
from pathlib import Path

from . import graph as graphs
from .problems import Lost, Problem, Usage
from .progress import PromptBar
from .results import collect, gate, left_there, scores
from .sentences import failure
from .server import Server


def run(path: Path, sets: list[str], uploads: list[str], servers: list[str], headers: dict, out: Path | None,
        previews: bool) -> dict:  # fmt: skip
    """Run a workflow on the first server that answers; returns the summary that is printed.

    `sets`: "TITLE_OR_ID.input=value", `uploads`: "TITLE_OR_ID=file", relative to the working directory. Results go into
    a folder named by the prompt's id inside `out`; None: they stay at the server, and the summary says where.
    """
    graph = graphs.load(path)
    for text in sets:  # what the graph alone can tell, before any server is asked
        graphs.find(graph, graphs.split(_parted(graph, text)[0])[0])
    with first_that_answers(servers, headers) as server:
        plan = planned(graph, server.infos(graph), sets, uploads)
        for (node_id, key), file in plan.uploads.items():
            plan.graph[node_id]["inputs"][key] = server.upload(file, plan.graph[node_id]["inputs"][key])
        entry, prompt_id = _finished(server, plan.graph)
        failed = failure(plan.graph, entry)
        if failed:
            raise Problem(failed)
        if out is None:
            files = left_there(server, plan.graph, entry, previews)
        else:
            out.mkdir(parents=True, exist_ok=True)
            kept = collect(server, plan.graph, entry, out / prompt_id, previews)
            files = [{**file, "path": str(out / file["path"])} for file in kept]
    found = scores(entry, plan.graph)
    return {"prompt_id": prompt_id, "server": server.address, "files": files, "scores": found, "gate": gate(found)}


def _finished(server, graph):
    """Queue, show and wait; an interrupted wait takes the prompt off the server. The entry and the prompt's id."""
    prompt_id, bar = str(uuid.uuid4()), PromptBar(graph)
    server.listen()
    try:
        _queue(server, graph, prompt_id)
        return server.wait(prompt_id, bar), prompt_id
    except KeyboardInterrupt:
        server.withdraw(prompt_id)
        raise
    finally:
        bar.close()


def _queue(server, graph, prompt_id):
    try:
        server.queue(graph, prompt_id)
    except Lost:
        if not server.find(prompt_id):
            raise


def planned(graph: dict, infos: dict, sets: list[str], uploads: list[str]) -> graphs.Plan:
    """The graph with the command line's values; a set value of a picture's input is a name at the server, no file."""
    settings = []
    for text in sets:
        target, value = _parted(graph, text)
        settings.append(replace(graphs.input_of(graph, infos, target).takes(value), is_upload=False))
    for text in uploads:
        name, equals, file = text.rpartition("=")
        if not equals:
            raise Usage(f"--upload {text!r} names no file; write --upload 'TITLE_OR_ID=photo.jpg'.")
        settings.append(graphs.upload_input(graph, infos, name).takes(file))
    return graphs.apply(graph, settings, Path())


def _parted(graph, text):
    """ "TITLE_OR_ID.input=value" at the first "=" behind a node's name: titles and values may hold more of them."""
    places = [place for place, letter in enumerate(text) if letter == "="]
    if not places:
        raise Usage(f"--set {text!r} sets nothing; write --set 'TITLE_OR_ID.input=value'.")
    names = {*graph, *(graphs.title_of(graph, node_id) for node_id in graph)}
    place = next((place for place in places if text[:place].rpartition(".")[0] in names), places[0])
    return text[:place], text[place + 1 :]


def first_that_answers(servers: list[str], headers: dict) -> Server:
    """The first server that answers; Lost with a sentence when none does."""
    reasons = []
    for address in servers:
        server = Server(address, headers)
        try:
            server.check()
            return server
        except Lost as error:
            reasons.append(str(error))
    raise Lost("\n".join(reasons))
