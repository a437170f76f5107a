"""An artist's workflow in API format, read for what has to be changed in it: who, what, and with how much identity.

Graphs are {node id: {"class_type", "inputs", ...}}, a link is [node id, number of the output]. Nothing given is
changed: each function returns a new graph.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from likeness.cli import graph as graphs
from likeness.cli.problems import Usage

REFERENCE, PICTURE, LIKENESS, ENCODER, CURE = ("bench-reference", "bench-picture", "bench-likeness", "bench-encoder",
                                               "bench-cure")  # fmt: skip
WORKFLOWS_OWN = "workflow"  # in place of an encoder's name
_ADAPTER, _CURE = "ApplyIDAdapter", "AttributeCure"
_TEXTS = ("text", "text_g", "text_l", "clip_l", "t5xxl")  # what ComfyUI's text encoders call their prompts
_PROMPT_FROM = ("positive", "conditioning", "conditioning_1", "conditioning_to")
_SEEDS = ("seed", "noise_seed")
Graph = dict[str, dict]


@dataclass(frozen=True)
class Parts:
    """Where things are in a graph: the node with the weight; samplers and guiders that get its model; the node that
    encodes the prompt; what is saved; the link to the adapter's photograph; the link to its face encoder, if any."""

    adapter: str
    samplers: tuple[str, ...]
    text: str
    picture: list
    photograph: list
    encoder: list | None


def is_link(value) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def links(node: dict) -> dict[str, list]:
    """The inputs of a node that come from others."""
    return {key: value for key, value in node["inputs"].items() if is_link(value)}


def behind(graph: Graph, ends: Iterable[str]) -> Graph:
    """The part of a graph that these nodes need, themselves included."""
    needed, left = set(), [one for one in ends if one in graph]
    while left:
        node_id = left.pop()
        if node_id not in needed:
            needed.add(node_id)
            left += [link[0] for link in links(graph[node_id]).values() if link[0] in graph]
    return {node_id: node for node_id, node in graph.items() if node_id in needed}


def with_inputs(graph: Graph, node_id: str, **inputs) -> Graph:
    """The graph with inputs of one node set."""
    node = graph[node_id]
    return {**graph, node_id: {**node, "inputs": {**node["inputs"], **inputs}}}


def swapped(graph: Graph, old: list, new) -> Graph:
    """The graph in which whoever read link `old` reads `new`, a link or a value."""
    return {
        node_id: {**node, "inputs": {key: new if value == old else value for key, value in node["inputs"].items()}}
        for node_id, node in graph.items()
    }


def read_parts(graph: Graph, picture: str | None = None) -> Parts:
    """Find the parts; Usage with a sentence for a workflow that can't be measured.

    `picture`: title or id of the node whose pictures count; None: the only SaveImage behind an ApplyIDAdapter.
    """
    shown = _picture(graph, picture)
    needed = behind(graph, [shown[0]])
    adapters = _of_class(needed, _ADAPTER)
    if len(adapters) != 1:
        raise Usage(f"The picture comes through {len(adapters) or 'no'} ApplyIDAdapter, and this measures one person "
                    "at a time; give a workflow with one of them before its sampler.")  # fmt: skip
    [adapter] = adapters
    if _of_class(needed, "IDTextEncode"):
        raise Usage("The person is in the prompt here (IDTextEncode), where weights don't reach; give a workflow whose "
                    "prompt is plain text.")  # fmt: skip
    samplers = tuple(node_id for node_id in needed if _samples(needed, node_id, adapter))
    if not samplers:
        raise Usage(f"No sampler or guider gets the model of {graphs.named(graph, adapter)}; connect it to one.")
    text = _text(needed, samplers[0])
    photograph, encoder = _photograph(needed, adapter)
    for key in ("weight", "start_at"):
        _number(graph, adapter, key)
    return Parts(adapter, samplers, text, shown, photograph, encoder)


def measured(graph: Graph, parts: Parts, encoder: str) -> Graph:
    """The graph with a reference photograph of ours, saving its picture and scoring it; all else is cut off."""
    graph = _with_reference(graph, parts)
    scorer = [ENCODER, 0]
    if encoder == WORKFLOWS_OWN:
        if parts.encoder is None:
            raise Usage("The workflow has no face encoder of its own; name one of the pack's with --encoder.")
        scorer = parts.encoder
    picture = {"images": parts.picture, "filename_prefix": "likeness/bench"}
    graph = {
        **graph,
        ENCODER: new_node("LoadFaceEncoder", encoder=encoder, detector="auto", min_confidence=0.5, search="auto",
                      min_size=0),
        PICTURE: new_node("SaveImage", **picture),
        LIKENESS: new_node("IDSimilarity", face_encoder=scorer, image=parts.picture, reference=[REFERENCE, 0],
                        threshold=-1.0, on_no_face="skip", centralise=False),
    }  # fmt: skip
    graph = behind(graph, (PICTURE, LIKENESS))
    for node_id, node in graph.items():
        if isinstance(node["inputs"].get("batch_size"), int):
            graph = with_inputs(graph, node_id, batch_size=1)
    if not _seeded(graph):
        raise Usage("No node of the workflow has a seed, and conditions are compared on the same noise; add one.")
    return graph


def asked(graph: Graph, parts: Parts, text: str, seed: int) -> Graph:
    """The graph with a prompt, wherever its text goes, and with one seed for everything that is drawn by lot."""
    for key in _TEXTS:
        value = graph[parts.text]["inputs"].get(key)
        if is_link(value):
            graph = swapped(graph, value, text)
        elif value is not None:
            graph = with_inputs(graph, parts.text, **{key: text})
    for node_id, key in _seeded(graph):
        graph = with_inputs(graph, node_id, **{key: seed})
    return behind(graph, (PICTURE, LIKENESS))


def with_steps(graph: Graph, steps: int) -> Graph:
    """The graph with a number of steps wherever one stands; Usage where none does, or another node says it."""
    found = [node_id for node_id, node in graph.items() if "steps" in node["inputs"]]
    if not found:
        raise Usage("No node of the workflow has steps, so --steps says nothing; leave it away.")
    for node_id in found:
        if is_link(graph[node_id]["inputs"]["steps"]):
            raise Usage(f"The steps of {graphs.named(graph, node_id)} come from another node, where --steps does not "
                        "reach; leave it away, or write a number there.")  # fmt: skip
        graph = with_inputs(graph, node_id, steps=steps)
    return graph


def reference_check(graph: Graph, photograph: str) -> Graph:
    """A graph that fails if no face is found in a photograph: it is compared with itself by a measured graph's scorer.

    `photograph`: its name in the server's input folder.
    """
    graph = with_inputs(graph, LIKENESS, image=[REFERENCE, 0], on_no_face="error")
    return with_inputs(behind(graph, [LIKENESS]), REFERENCE, image=photograph)


def clip_of(graph: Graph, parts: Parts) -> list:
    """The link to what encodes the prompt."""
    return graph[parts.text]["inputs"]["clip"]


def uncured(graph: Graph) -> Graph:
    """The graph without its AttributeCure nodes."""
    for node_id in _of_class(graph, _CURE):
        graph = swapped(graph, [node_id, 0], graph[node_id]["inputs"]["model"])
    return behind(graph, (PICTURE, LIKENESS))


def cure_settings(graph: Graph) -> dict:
    """What the workflow's own AttributeCure says beside model and prompt; of its first one, {} where there is none."""
    found = _of_class(graph, _CURE)
    given = graph[found[0]]["inputs"] if found else {}
    return {key: value for key, value in given.items() if key not in ("model", "clip", "prompt", "attributes")}


def identity_controls(graph: Graph, parts: Parts) -> list[str]:
    """ControlNets that read the identity of an adapter that feeds them, as ControlNets do in ComfyUI: those of
    LandmarkControl where there is one, else every one between the adapter and its samplers."""
    chain = behind(graph, [graph[one]["inputs"].get(key, [""])[0] for one in parts.samplers for key in _PROMPT_FROM])
    ours = [one for one in _of_class(chain, "LandmarkControl")
            if graph[one]["inputs"].get("control_net_reads") != "prompt"]  # fmt: skip
    others = [one for one, node in chain.items() if node["class_type"].startswith("ControlNetApply")]
    return [one for one in ours or others if parts.adapter in behind(graph, [one])]


def without_control(graph: Graph, node_id: str) -> Graph:
    """The graph with a ControlNet's node taken out: its prompts go past it."""
    for number, key in enumerate(("positive", "negative")):
        if key in graph[node_id]["inputs"]:
            graph = swapped(graph, [node_id, number], graph[node_id]["inputs"][key])
    return behind(graph, (PICTURE, LIKENESS))


def new_node(kind: str, **inputs) -> dict:
    """A node as a graph has it."""
    return {"class_type": kind, "inputs": inputs}


def plan_for(graph: Graph, photograph: Path) -> graphs.Plan:
    """The graph as a batch queues it: the photograph is uploaded first, under a name made of its content."""
    name = graphs.upload_name(photograph)
    return graphs.Plan(with_inputs(graph, REFERENCE, image=name), {(REFERENCE, "image"): photograph})


def _of_class(graph, name):
    return [node_id for node_id, node in graph.items() if node["class_type"] == name]


def _picture(graph, name):
    if name is None:
        found = [one for one in _of_class(graph, "SaveImage") if _of_class(behind(graph, [one]), _ADAPTER)]
        if not found:
            raise Usage("No SaveImage of the workflow comes behind an ApplyIDAdapter; add the node, or say with "
                        "--picture which node's pictures count.")  # fmt: skip
        if len(found) > 1:
            names = ", ".join(graphs.named(graph, one) for one in found)
            raise Usage(f"{len(found)} SaveImage nodes come behind an ApplyIDAdapter; say with --picture which one's "
                        f"pictures count: {names}.")  # fmt: skip
        [name] = found
    node_id = graphs.find(graph, name)
    given = links(graph[node_id])
    return next((given[key] for key in ("images", "image") if key in given), [node_id, 0])


def _samples(graph, node_id, adapter):
    """Whether a node takes a prompt and a model that comes from the adapter."""
    inputs = links(graph[node_id])
    if graph[node_id]["class_type"] in (_ADAPTER, _CURE) or not any(key in inputs for key in _PROMPT_FROM):
        return False
    link = inputs.get("model")
    while link and link[0] in graph:
        if link[0] == adapter:
            return True
        link = links(graph[link[0]]).get("model")
    return False


def _text(graph, node_id):
    """The node that encodes a sampler's positive prompt."""
    while True:
        inputs = graph[node_id]["inputs"]
        if is_link(inputs.get("clip")) and any(key in inputs for key in _TEXTS):
            return node_id
        link = next((inputs[key] for key in _PROMPT_FROM if is_link(inputs.get(key))), None)
        if link is None or link[0] not in graph:
            raise Usage(f"The positive prompt comes from {graphs.named(graph, node_id)}, which takes no text; use a "
                        "CLIPTextEncode.")  # fmt: skip
        node_id = link[0]


def _photograph(graph, adapter):
    """Links to the picture of the person and to the encoder that sees it."""
    inputs = links(graph[adapter])
    while "image" not in inputs and "identity" in inputs and inputs["identity"][0] in graph:
        inputs = links(graph[inputs["identity"][0]])
    if "image" not in inputs or inputs["image"][0] not in graph:
        raise Usage(f"The identity of {graphs.named(graph, adapter)} comes from no picture; give it one, by "
                    "EncodeIdentity or by its own input.")  # fmt: skip
    return inputs["image"], inputs.get("face_encoder")


def _with_reference(graph, parts):
    """Whoever reads the person's photograph reads ours: that of the one LoadImage, whatever comes between it and the
    adapter; else, as where the workflow draws the person itself, the picture that the adapter gets."""
    loaded = _of_class(behind(graph, [parts.photograph[0]]), "LoadImage")
    graph = {**graph, REFERENCE: new_node("LoadImage", image="")}
    if len(loaded) != 1:
        return swapped(graph, parts.photograph, [REFERENCE, 0])
    for output in (0, 1):
        graph = swapped(graph, [loaded[0], output], [REFERENCE, output])
    return graph


def _seeded(graph):
    return [(node_id, key) for node_id, node in graph.items() for key in _SEEDS if key in node["inputs"]]


def _number(graph, node_id, key):
    if not isinstance(graph[node_id]["inputs"].get(key), int | float):
        raise Usage(f"{key} of {graphs.named(graph, node_id)} is no number in the workflow; write one there.")
