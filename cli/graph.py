"""A workflow in API format: reading it, finding a node by title or id, and setting its inputs."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .durable import digest_of
from .problems import Usage, shown

UPLOADS = ("image_upload", "video_upload", "audio_upload")
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
Infos = Mapping[str, dict]  # node class -> its entry of /object_info


def load(path: Path) -> dict:
    """The graph of a workflow file, {node id: {"class_type", "inputs", ...}}; Usage when it is none."""
    try:
        graph = json.loads(path.read_bytes())
        json.dumps(graph, ensure_ascii=False).encode()  # half a letter is none
    except OSError as error:
        raise Usage(f"{path} can't be opened ({error.strerror}); give the path of a workflow in API format.") from error
    except (ValueError, RecursionError) as error:
        raise Usage(f"{path} is no JSON ({shown(error, 100)}); export the workflow again, in API format.") from error
    if isinstance(graph, dict) and isinstance(graph.get("nodes"), list):
        raise Usage(
            f"{path} is a workflow of the page, and servers take the API format; export it with Export (API), or take "
            "its twin in workflows/api."
        )
    if not isinstance(graph, dict) or not graph or not all(map(_is_node, graph.values())):
        raise Usage(f"{path} is no workflow in API format: every node needs a class_type and inputs; export it again.")
    return graph


def _is_node(node):
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def title_of(graph: dict, node_id: str) -> str:
    """A node's title, its class where it has none."""
    node = graph.get(node_id, {})
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) and title else node.get("class_type", "an unknown node")


def named(graph: dict, node_id: str) -> str:
    """A node as a sentence names it."""
    return f"{shown(title_of(graph, node_id), 80)} (node {shown(node_id, 40)})"


def find(graph: dict, name: str) -> str:
    """The id of the node of this id or, exactly, of this title."""
    if name in graph:
        return name
    found = [node_id for node_id in graph if title_of(graph, node_id) == name]
    if len(found) == 1:
        return found[0]
    if found:
        ids = shown(", ".join(found), 300)
        raise Usage(f"{len(found)} nodes are titled {shown(name, 80)!r}; say which one by its id: {ids}.")
    titles = ", ".join(f"{node_id} {title_of(graph, node_id)!r}" for node_id in graph)
    raise Usage(f"No node has the id or the title {shown(name, 80)!r}; there are: {shown(titles, 1500)}.")


def split(target: str) -> tuple[str, str]:
    """`TITLE_OR_ID.input` at its last dot, for titles have dots of their own."""
    name, dot, key = target.rpartition(".")
    if not (name and key):
        raise Usage(f"{shown(target, 80)!r} names no input; write TITLE_OR_ID.input, such as Sampler.seed.")
    return name, key


@dataclass(frozen=True)
class Input:
    """One input of a node in a graph, as its server describes it; `where` names it in a sentence."""

    node_id: str
    key: str
    kind: object
    options: dict
    where: str

    @property
    def is_upload(self) -> bool:
        return any(self.options.get(option) for option in UPLOADS)

    def takes(self, value) -> "Setting":
        """A value, or the text of one, as this input has it; Usage when it can't be that."""
        return Setting(self.node_id, self.key, self.is_upload, _converted(value, self.kind, self.options, self.where))


@dataclass(frozen=True)
class Setting:
    """A value for one input: of node `node_id`, called `key`; a local file to upload first where `is_upload`."""

    node_id: str
    key: str
    is_upload: bool
    value: object


@dataclass
class Plan:
    """A graph with its inputs set. `uploads`: (node id, input) -> local file; the graph already has the name that the
    file gets on a server, made from its bytes, so that the same inputs are the same graph."""

    graph: dict
    uploads: dict = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Changes when anything of the graph or of its files does."""
        return hashlib.sha256(json.dumps(self.graph, sort_keys=True).encode()).hexdigest()


def input_of(graph: dict, infos: Infos, target: str) -> Input:
    """The input that `TITLE_OR_ID.input` names; Usage when there is none, or a link leads to it."""
    name, key = split(target)
    node_id = find(graph, name)
    known = _known_inputs(graph, infos, node_id)
    if key not in known:
        raise Usage(f"{named(graph, node_id)} has no input {shown(key, 80)!r}; it has: {', '.join(known)}.")
    value = graph[node_id]["inputs"].get(key)
    if isinstance(value, list):
        source = named(graph, str(value[0])) if value else "elsewhere"
        raise Usage(f"{key} of {named(graph, node_id)} comes from {source}; set that node's inputs instead.")
    return Input(node_id, key, *known[key], f"{key} of {named(graph, node_id)}")


def upload_input(graph: dict, infos: Infos, name: str) -> Input:
    """The one input of the node of this title or id that takes uploads."""
    node_id = find(graph, name)
    inputs = [Input(node_id, key, *known, "") for key, known in _known_inputs(graph, infos, node_id).items()]
    found = [one for one in inputs if one.is_upload]
    if len(found) != 1:
        raise Usage(f"{named(graph, node_id)} takes no uploaded file; LoadImage nodes do.")
    return found[0]


def _known_inputs(graph, infos, node_id):
    kind = graph[node_id]["class_type"]
    if kind not in infos:
        raise Usage(f"The server has no node class {shown(kind, 80)}, which {named(graph, node_id)} needs.")
    return inputs_of(infos[kind])


def apply(graph: dict, settings: list[Setting], folder: Path) -> Plan:
    """A copy of the graph with settings made; paths of files are relative to `folder`. Usage for a missing file."""
    plan = Plan({node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in graph.items()})
    for one in settings:
        value = one.value
        if one.is_upload:
            path = folder / str(value)
            value = upload_name(path)
            plan.uploads[one.node_id, one.key] = path
        plan.graph[one.node_id]["inputs"][one.key] = value
    return plan


def upload_name(path: Path) -> str:
    """The name of a local file on every server: its contents tell it, not its path."""
    try:
        digest = digest_of(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise Usage(f"{shown(path, 200)} can't be read ({reason}); put it there or correct the path.") from error
    return f"likeness-{digest[:32]}{path.suffix.lower()}"


def inputs_of(info: dict) -> dict:
    """name -> (kind, options) of every input of a node class; a kind is text, or the list of what may be chosen."""
    found = {}
    sections = info.get("input") or {}
    for section in ("required", "optional"):
        for name, spec in (sections.get(section) or {}).items():
            options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            found[name] = (spec[0], options)
    return found


def choices_of(kind, options) -> list | None:
    """What an input offers, None for one that is no choice; both forms that ComfyUI has for it."""
    if isinstance(kind, list):
        return kind
    return options.get("options", []) if kind == "COMBO" else None


def _converted(value, kind, options, where):
    choices = choices_of(kind, options)
    if choices is not None:
        by_text = {str(choice): choice for choice in choices}
        return by_text.get(str(value), str(value))
    if kind == "STRING":
        return str(value)
    if kind == "BOOLEAN":
        text = str(value).lower()
        if text in _YES + _NO:
            return text in _YES
        raise Usage(f"{where} is {shown(value, 80)!r}, but it is a switch; write true or false.")
    if kind in ("INT", "FLOAT"):
        number = _number(value)
        if number is None or kind == "INT" and number != int(number):
            wanted = "a whole number" if kind == "INT" else "a number"
            raise Usage(f"{where} is {shown(value, 80)!r}, but it takes {wanted}.")
        return int(number) if kind == "INT" else float(number)
    raise Usage(f"{where} takes a link ({shown(kind, 40)}), not a value.")


def _number(value):
    """An int where it is one, exactly: seeds have 64 bits. None for what is no finite number."""
    if isinstance(value, bool):
        return None
    for kind in (int, float):
        try:
            number = kind(value) if isinstance(value, str) or isinstance(value, kind) else None
        except ValueError:
            continue
        if number is not None:
            return number if kind is int or math.isfinite(number) else None
    return None
