"""What is compared: each condition is a chain of steps from one graph to the next, as an artist would wire the nodes.

To add one, write a step `(graph, task) -> graph` and name a chain of steps below. A curve is a list of conditions, from
the one that is to be cured on, each farther from it than the one before.
"""

from typing import Any, NamedTuple

from facelets.pack import module

from .stack import SIZE, Graph, Stack
from .task import Case

# Of the adapter and of the landmarks' ControlNet where a cure is measured: ApplyIDAdapter's and LandmarkControl's own
# defaults. The names of conditions follow from them.
WEIGHT, CONTROL = 0.8, 0.8
FAINT = 0.4  # share of WEIGHT at which a quarter of the likeness has to be gone, or the ruler can't tell
FAINT_WEIGHT = round(WEIGHT * FAINT, 3)
# Of WEIGHT, from the most on; 0 is the pose without the person.
_SHARES = (0.75, 0.5, FAINT, 0.375, 0.25, 0.125, 0.0625, 0.0)
_STARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
_STRENGTHS = (0.25, 0.5, 0.75, 1.0)
_FEW_STRENGTHS = (0.5, 1.0)  # of other ways than the default one


class Task(NamedTuple):
    """What a step may look at: the parts of Facelets, the case, and the person's Identity in the pack's own form."""

    stack: Stack
    case: Case
    identity: Any


def adapter(weight: float = WEIGHT, start_at: float = 0.0):
    """ApplyIDAdapter with the identity of the person's reference."""

    def step(graph: Graph, task: Task) -> Graph:
        host = module("core.host.adapters.adapter")
        sources = module("core.host.who.person").Sources(task.identity)
        strength = host.Strength(weight, start_at)
        return Graph(*host.apply_adapter(*graph, task.stack.parts.adapter, sources, strength)[:3])

    return step


def control(strength: float = CONTROL):
    """LandmarkControl with the landmarks that the picture should have, as JSON."""

    def step(graph: Graph, task: Task) -> Graph:
        host, text = module("core.host.prompts.landmarks"), module("core.faces.points.landmark_json")
        wanted = text.landmarks_to_json(task.case.drawing.landmarks, SIZE, SIZE)
        source = host.PoseSource(task.stack.parts.face_encoder, None, wanted, "0", "error")
        drawn, _ = host.draw(source, host.Placement(0, 0, 1, 0), (SIZE, SIZE))
        strength_ = host.Strength(strength)
        return Graph(graph.model, *host.add_control_net(*graph[1:], task.stack.parts.control_net, drawn, strength_))

    return step


def cure(strength: float = 1.0, **options):
    """AttributeCure on the prompt; other options as `core.host.cure.apply.apply_cure` has them."""

    def step(graph: Graph, task: Task) -> Graph:
        host, parts = module("core.host.cure.apply"), (graph.model, task.stack.parts.clip, task.case.text)
        return graph._replace(model=host.apply_cure(*parts, strength=host.Strength(strength), **options))

    return step


def _at(weight: float) -> str:
    return f"adapter-{weight}+control"


def _strengths(name: str, **options) -> dict[str, tuple]:
    """A kind of cure by its strength; at full strength it has the bare name."""
    return {name if strength == 1 else f"{name}-{strength}": (*_ILL, cure(strength, **options))
            for strength in _FEW_STRENGTHS}  # fmt: skip


DRAWING = "drawing"  # not generated: the case's own drawing through the autoencoder, the most that can be reached
BASE, ILL = "base", _at(WEIGHT)  # the prompt without a person, and what is to be cured
_ILL = (adapter(), control())
CONDITIONS = {
    BASE: (),
    f"adapter-{FAINT_WEIGHT}": (adapter(FAINT_WEIGHT),),
    f"adapter-{WEIGHT}": (adapter(),),
    "adapter-1.0": (adapter(1.0),),
    ILL: _ILL,
}
# A cure has to do better than a lower weight, and better than an adapter that comes later.
LOWERED = {_at(weight): (adapter(weight), control()) for weight in (round(WEIGHT * share, 3) for share in _SHARES)}
SHORTER = {f"adapter-from-{start}+control": (adapter(start_at=start), control()) for start in _STARTS}
STRENGTHS = {f"cure-{strength}": (*_ILL, cure(strength)) for strength in _STRENGTHS}
SHARED_ATTENTION = _strengths("cure-shared_attention", mode="shared_attention")
# The paper's own way: two trajectories, and the abstract pass that it leaves expressions to.
FREECURE = _strengths("freecure", mode="freecure", trajectory="separate", abstract_pass=0.5)
WAYS = {
    "cure-separate": (*_ILL, cure(trajectory="separate")),
    "cure-both": (*_ILL, cure(mode="both")),
    "cure-abstract_pass-0.5": (*_ILL, cure(abstract_pass=0.5)),
    "freecure-shared": (*_ILL, cure(mode="freecure", abstract_pass=0.5)),
}
CURE = "cure-1.0"  # the node as it comes
FAINTER, FAINTER_WEIGHT = _at(FAINT_WEIGHT), f"at {FAINT_WEIGHT}, which is {FAINT} of {WEIGHT}"
RIVALS = {"lower weight": [ILL, *LOWERED], "shorter range": [ILL, *SHORTER]}
CURES = {
    "cure, by strength": [ILL, *STRENGTHS],
    "shared_attention, by strength": [ILL, *SHARED_ATTENTION],
    "freecure, by strength": [ILL, *FREECURE],
}
CURING = STRENGTHS | SHARED_ATTENTION | FREECURE | WAYS
CURED = (BASE, ILL, *LOWERED, *SHORTER, *CURING)
KNOWN = CONDITIONS | LOWERED | SHORTER | CURING


def measured_curves(curves: dict[str, list[str]], measured: tuple[str, ...]) -> dict[str, list[str]]:
    """The curves, with those of their conditions that were measured: the uncured one and another at least."""
    found = {label: [name for name in names if name in measured] for label, names in curves.items()}
    return {label: names for label, names in found.items() if ILL in names and len(names) > 1}
