"""Damaged encoder files by number: the same number and seed, the same bytes."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import bombs, in_bytes, in_graphs, in_states, trial, whole

# which of a hundred cases are of which sort
_SHARES = (("bytes of a graph", 32), ("a graph", 30), ("a graph as a bomb", 14), ("bytes of weights", 12),
           ("weights", 5), ("weights as a bomb", 5), ("a stranger", 2))  # fmt: skip

tried, load_and_run = trial.tried, trial.load_and_run


@dataclass(frozen=True)
class Case:
    """A file to load: its kind for the report, its name, what it is loaded as, and its bytes once asked for."""

    kind: str
    name: str
    role: str
    make: Callable[[], bytes]


def case(number: int, seed: int = 0) -> Case:
    """The case of a number."""
    rng = random.Random(f"{seed} {number}")
    sort = rng.choices([name for name, _ in _SHARES], [share for _, share in _SHARES])[0]
    if sort in ("bytes of a graph", "a graph"):
        kind = rng.choice(list(whole.GRAPHS))
        damages = in_bytes.DAMAGE if sort == "bytes of a graph" else in_graphs.DAMAGE
        damage = rng.choice(list(damages))
        given = (lambda: whole.graph(kind)) if sort == "bytes of a graph" else lambda: kind
        return Case(f".onnx: {damage}", "damaged.onnx", whole.GRAPHS[kind][2], lambda: damages[damage](given(), rng))
    if sort == "a graph as a bomb":
        name = rng.choice(list(bombs.BOMBS))
        detector = name == "cyclic detector" or name == "cycle" and rng.random() < 0.5
        role = whole.DETECTOR if detector else whole.RECOGNISER
        return Case(".onnx: bomb", f"{name}.onnx", role, lambda: bombs.BOMBS[name](rng))
    container = rng.choice(list(whole.CONTAINERS))
    ending = "safetensors" if container == "safetensors" else "pt"
    kind = rng.choice([kind for kind in whole.STATES if kind != "small"])
    if sort == "bytes of weights":
        damage = rng.choice(list(in_bytes.DAMAGE))
        return Case(f"{container}: {damage}", f"damaged.{ending}", whole.WEIGHTS,
                    lambda: in_bytes.DAMAGE[damage](whole.weights(kind, container), rng))  # fmt: skip
    if sort == "weights":
        write = whole.CONTAINERS[container]
        return Case(f"{container}: tensors", f"damaged.{ending}", whole.WEIGHTS,
                    lambda: write(in_states.tensors(whole.state(kind), rng)))  # fmt: skip
    if sort == "weights as a bomb":
        damage = rng.choice(list(in_states.DAMAGE))
        ending = "safetensors" if damage == "safetensors header" else "pt"
        return Case(f"weights: {damage}", f"{damage}.{ending}", whole.WEIGHTS,
                    lambda: in_states.DAMAGE[damage](whole.state("small"), rng))  # fmt: skip
    role = rng.choice((whole.RECOGNISER, whole.DETECTOR, whole.DETAILS, whole.WEIGHTS))
    ending = "onnx" if role != whole.WEIGHTS else rng.choice(("pt", "safetensors"))
    return Case("no encoder at all", f"stranger.{ending}", role, lambda: rng.choice(in_bytes.STRANGERS))


def warm(folder: Path) -> None:
    """Load one intact file of every role, so that what is loaded once counts for no case."""
    for kind in ("mbf", "scrfd_500m", "genderage"):
        path = folder / "warm.onnx"
        path.write_bytes(whole.graph(kind))
        load_and_run(path, whole.GRAPHS[kind][2])
