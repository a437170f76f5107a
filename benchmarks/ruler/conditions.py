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
        host = module("core.host.adapters.adapter")
        sources = module("core.host.who.person").Sources(task.identity)
        return Graph(*host.apply_adapter(*graph, task.stack.adapter, sources, host.Strength(weight))[:3])

    return step


def control(strength: float):
    """LandmarkControl with the landmarks that the picture should have, as JSON."""

    def step(graph: Graph, task: Task) -> Graph:
        host, text = module("core.host.prompts.landmarks"), module("core.faces.points.landmark_json")
        wanted = text.landmarks_to_json(task.case.drawing.landmarks, SIZE, SIZE)
        source = host.PoseSource(task.stack.face_encoder, None, wanted, "0", "error")
        drawn, _ = host.draw(source, host.Placement(0, 0, 1, 0), (SIZE, SIZE))
        strength_ = host.Strength(strength)
        return Graph(graph.model, *host.add_control_net(*graph[1:], task.stack.control_net, drawn, strength_))

    return step


def cure(strength: float = 1.0, **options):
    """AttributeCure on the prompt; other options as `core.host.cure.apply.apply` has them."""

    def step(graph: Graph, task: Task) -> Graph:
        host, parts = module("core.host.cure.apply"), (graph.model, task.stack.clip, task.case.text)
        return graph._replace(model=host.apply(*parts, strength=host.Strength(strength), **options))

    return step


DRAWING = "drawing"  # not generated: the case's own drawing through the autoencoder, the most that can be reached
CONDITIONS = {
    "base": (),
    "adapter-0.8": (adapter(0.8),),
    "adapter-1.0": (adapter(1.0),),
    "adapter-0.8+control": (adapter(0.8), control(0.8)),
}
ILL = "adapter-0.8+control"  # what is to be cured: the weight that ApplyIDAdapter has by default
# A cure has to do better than a lower weight.
LOWERED = {f"adapter-{weight}+control": (adapter(weight), control(0.8)) for weight in (0.2, 0.3, 0.4, 0.6, 0.8)}
STRENGTHS = {f"cure-{strength}": (*LOWERED[ILL], cure(strength)) for strength in (0.25, 0.5, 0.75, 1.0)}
WAYS = {
    "cure-separate": (*LOWERED[ILL], cure(trajectory="separate")),
    "cure-shared_attention": (*LOWERED[ILL], cure(mode="shared_attention")),
    "cure-both": (*LOWERED[ILL], cure(mode="both")),
    "cure-abstract_pass-0.5": (*LOWERED[ILL], cure(abstract_pass=0.5)),
    # The paper's own way: two trajectories, and the abstract pass that it leaves expressions to.
    "freecure": (*LOWERED[ILL], cure(mode="freecure", trajectory="separate", abstract_pass=0.5)),
    "freecure-shared": (*LOWERED[ILL], cure(mode="freecure", abstract_pass=0.5)),
}
CURED = ("base", *LOWERED, *STRENGTHS, *WAYS)
KNOWN = CONDITIONS | LOWERED | STRENGTHS | WAYS
