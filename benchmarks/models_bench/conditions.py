"""What is compared: each condition is a change to the measured graph, as an artist would make it by hand."""

import re

from likeness.cli.problems import Usage

from .graph import CURE, Graph, Parts, clip_of, cure_settings, new_node, uncured, with_inputs, without_control

FOUNDATION, ADAPTER = "foundation", "adapter"
DEFAULT = (
    FOUNDATION, ADAPTER, "weight-0.25", "weight-0.5", "weight-0.75", "start-0.2", "start-0.4", "cure-0.25", "cure-0.5",
    "cure-0.75", "cure-1", "freecure", "shared_attention",
)  # fmt: skip
HELP = """foundation: the model without the person. adapter: the workflow as it is, without a cure. weight-X: X of the
workflow's own weight. start-X: no identity before X of the steps. cure-X: AttributeCure at strength X.
freecure: AttributeCure as first published. shared_attention: its mode of that name"""
_NUMBERED = re.compile(r"(weight|start|cure)-(\d+(?:\.\d+)?)")
_CURE = {
    "attributes": "", "mode": "noise_blend", "trajectory": "shared", "strength": 1.0, "abstract_pass": 0.0,
    "start_at": 0.0, "end_at": 1.0,
}  # fmt: skip
# The paper's own way: two trajectories, and the abstract pass that it leaves expressions to.
_FREECURE = {"mode": "freecure", "trajectory": "separate", "abstract_pass": 0.5}


def known(name: str) -> str:
    """The name of a condition; Usage for one that is none."""
    numbered = _NUMBERED.fullmatch(name)
    if name in DEFAULT or (numbered and (numbered[1] == "weight" or float(numbered[2]) <= 1)):
        return name
    raise Usage(f"{name!r} is no condition; there are {', '.join(DEFAULT)}, and weight-, start- and cure- with other "
                "numbers, the latter two up to 1.")  # fmt: skip


def condition(name: str, graph: Graph, parts: Parts, text: str, controls: list[str], scaled: bool) -> Graph:
    """The graph under a condition.

    `text`: the prompt, for the cure. `controls`: ControlNets that read the identity, which go with the foundation; with
    `scaled` a lower weight and a later start are theirs too.
    """
    numbered = _NUMBERED.fullmatch(name)
    kind, number = (numbered[1], float(numbered[2])) if numbered else (name, 1.0)
    settings, graph = cure_settings(graph), uncured(graph)
    if kind == FOUNDATION:
        for control in controls:
            graph = without_control(graph, control)
        return with_inputs(graph, parts.adapter, weight=0.0)
    if kind in ("weight", "start"):
        for node_id in (parts.adapter, *(controls if scaled else ())):
            graph = _weaker(graph, node_id, number) if kind == "weight" else _later(graph, node_id, number)
        return graph
    if kind == ADAPTER:
        return graph
    own = {"freecure": _FREECURE, "shared_attention": {"mode": "shared_attention"}}.get(kind, {})
    return _cured(graph, parts, {**_CURE, **settings, **own, "strength": number, "attributes": "", "prompt": text})


def _weaker(graph, node_id, share):
    key = "weight" if "weight" in graph[node_id]["inputs"] else "strength"
    return with_inputs(graph, node_id, **{key: round(graph[node_id]["inputs"][key] * share, 4)})


def _later(graph, node_id, start):
    inputs = graph[node_id]["inputs"]
    key = "start_at" if "start_at" in inputs else "start_percent"
    return with_inputs(graph, node_id, **{key: max(inputs[key], start)}) if key in inputs else graph


def _cured(graph, parts, settings):
    """AttributeCure in front of every sampler and guider that gets the adapter's model."""
    for number, sampler in enumerate(parts.samplers, 1):
        given = {"model": graph[sampler]["inputs"]["model"], "clip": clip_of(graph, parts), **settings}
        graph = {**graph, f"{CURE}-{number}": new_node("AttributeCure", **given)}
        graph = with_inputs(graph, sampler, model=[f"{CURE}-{number}", 0])
    return graph
