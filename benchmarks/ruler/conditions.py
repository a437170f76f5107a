"""What is compared: each condition is a chain of steps from one graph to the next, as an artist would wire the nodes.

To add one, write a step `(graph, task) -> graph` and name a chain of steps in CONDITIONS.
"""

from typing import Any, NamedTuple

from facelets.pack import module

from .stack import SIZE, Graph, Stack
from .task import Case


class Task(NamedTuple):
    """What a step may look at: the parts of Facelets, the case, and the person's Identity in the pack's own form."""

    stack: Stack
    case: Case
    identity: Any


def adapter(weight: float):
    """ApplyIDAdapter with the identity of the person's reference."""

    def step(graph: Graph, task: Task) -> Graph:
        host = module("core.host.adapter")
        return Graph(*host.apply(*graph, task.stack.adapter, task.identity, host.Strength(weight)))

    return step


def control(strength: float):
    """LandmarkControl with the landmarks that the picture should have, as JSON."""

    def step(graph: Graph, task: Task) -> Graph:
        host, text = module("core.host.landmarks"), module("core.faces.landmark_json")
        wanted = text.landmarks_to_json(task.case.drawing.landmarks, SIZE, SIZE)
        source = host.PoseSource(task.stack.face_encoder, None, wanted, "0", "error")
        drawn, _ = host.draw(source, host.Placement(0, 0, 1, 0), (SIZE, SIZE))
        strength_ = host.Strength(strength)
        return Graph(graph.model, *host.apply(*graph[1:], task.stack.control_net, drawn, strength_))

    return step


def cure(**options):
    """AttributeCure on the prompt; options as `core.host.cure.apply` has them, after the prompt."""

    def step(graph: Graph, task: Task) -> Graph:
        host = module("core.host.cure")
        return graph._replace(model=host.apply(graph.model, task.stack.clip, task.case.text, **options))

    return step


DRAWING = "drawing"  # not generated: the case's own drawing through the autoencoder, the most that can be reached
CONDITIONS = {
    "base": (),
    "adapter-0.8": (adapter(0.8),),
    "adapter-1.0": (adapter(1.0),),
    "adapter-0.8+control": (adapter(0.8), control(0.8)),
}
# A cure has to do better than a lower weight.
CURES = {
    "adapter-0.3+control": (adapter(0.3), control(0.8)),
    "adapter-1.0+control": (adapter(1.0), control(0.8)),
    "adapter-1.0+control+cure": (adapter(1.0), control(0.8), cure()),
}
KNOWN = CONDITIONS | CURES
