"""What a finished prompt left: its files, brought here under names of our own, its scores, and the likeness gate."""

import json
import re
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

from .durable import clear_parts, make_folder, write_whole
from .graph import title_of
from .names import alike, slug
from .problems import shown as cut
from .server import Server

_ENDING = re.compile(r"[a-z0-9]{1,16}")
_MOST = 1e9  # far above any score
_KINDS = ("output", "temp")  # what /view serves of results; "temp" are previews


def collect(server: Server, graph: dict, entry: dict, folder: Path, previews: bool = False) -> list[dict]:
    """Download the files of a history's entry into `folder`; returns {path, sha256, bytes, node, title} of each.

    A name is made of the node, its title and a number: of a server's names only a plain ending is kept, so none leads
    anywhere else.
    """
    make_folder(folder)
    clear_parts(folder)
    files, taken = [], set()
    for node_id, kind, place in _listed(entry, graph, previews):
        title = title_of(graph, node_id)
        stem = f"{slug(node_id)}-{slug(title)}"
        number = next(number for number in count(1) if alike(f"{stem}-{number}") not in taken)
        taken.add(alike(f"{stem}-{number}"))
        name = f"{stem}-{number}.{_ending(place['filename'])}"
        digest, size = write_whole(folder / name, server.download(place["filename"], place["subfolder"], kind))
        file = {"path": f"{folder.name}/{name}", "sha256": digest, "bytes": size, "node": node_id, "title": title}
        files.append(file)
    return files


def left_there(server: Server, graph: dict, entry: dict, previews: bool = False) -> list[dict]:
    """{url, node, title} of each file that stays at the server: where a browser shows it."""
    return [
        {"url": cut(f"{server.address}/view?{urlencode({**place, 'type': kind})}"),
         "node": node_id, "title": title_of(graph, node_id)}
        for node_id, kind, place in _listed(entry, graph, previews)
    ]  # fmt: skip


def _listed(entry, graph, previews):
    """(node id, "output" | "temp", filename and subfolder) of every file, in the graph's order."""
    wanted = _KINDS if previews else _KINDS[:1]
    outputs = _dict(entry.get("outputs"))
    for node_id in graph:
        for values in _dict(outputs.get(node_id)).values():
            for place in values if isinstance(values, list) else ():
                place = _dict(place)
                filename, subfolder = place.get("filename"), place.get("subfolder", "")
                if place.get("type") in wanted and isinstance(filename, str) and isinstance(subfolder, str):
                    yield node_id, place["type"], {"filename": filename, "subfolder": subfolder}


def scores(entry: dict, graph: dict) -> dict:
    """node id -> {title, scores, and what the report says of threshold and outcomes} of every node that scored."""
    found = {}
    for node_id in graph:
        shown = _dict(_dict(entry.get("outputs")).get(node_id))
        values = shown.get("scores")
        if not isinstance(values, list):
            continue
        report = _report(shown)
        images = report.get("images")
        outcomes = [_dict(image).get("outcome") for image in (images if isinstance(images, list) else ())]
        found[node_id] = {
            "title": title_of(graph, node_id),
            "scores": [value for value in values if _is_number(value)],
            "threshold": report.get("threshold") if _is_number(report.get("threshold")) else None,
            "outcomes": [outcome for outcome in outcomes if outcome in ("accepted", "rejected", "skipped")],
        }
    return found


def gate(found: dict) -> str | None:
    """What the likeness gate says of a prompt: "rejected" when any of its pictures is, "skipped" when any has no face,
    else "accepted"; None when nothing was judged."""
    outcomes = {outcome for node in found.values() for outcome in node["outcomes"]}
    return next((outcome for outcome in ("rejected", "skipped", "accepted") if outcome in outcomes), None)


def seconds(entry: dict) -> float | None:
    """How long a server worked on a prompt, by its own clock; None where it does not say."""
    messages = _dict(entry.get("status")).get("messages")
    told = [one for one in (messages if isinstance(messages, list) else ()) if isinstance(one, list) and len(one) == 2]
    times = {str(event): _dict(data).get("timestamp") for event, data in told}
    start, end = times.get("execution_start"), times.get("execution_success")
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= end - start < _MOST):
        return None
    return (end - start) / 1000


def _report(shown):
    text = shown.get("report")
    try:
        return _dict(json.loads(text[0])) if isinstance(text, list) and text else {}
    except (ValueError, TypeError, RecursionError):
        return {}


def _is_number(value):
    return isinstance(value, int | float) and -_MOST < value < _MOST  # NaN is neither


def _ending(filename):
    ending = filename.rpartition(".")[2].lower()
    return ending if _ENDING.fullmatch(ending) else "bin"


def _dict(value):
    return value if isinstance(value, dict) else {}
