"""From the nodes of an ONNX graph to steps: what is constant is computed, what belongs together is joined.

Weights are found by where nodes use them, never by their names: exporters number, rename and fold them as they like.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..quoted import quoted
from ..weights import WeightsError
from ..weights.onnx_file import Node, OnnxModel
from .bounds import Room, TooMuch, check_sizes
from .operators import HOST_INPUTS, TENSOR, Unsupported
from .shapes import HOST, computed

_LOOKED_AT = 16  # numbers that can be looked at in the time that making one takes
_IN_PLACE = ("Add", "Relu")  # those that a face model's time goes into, and that torch can do in place
LAYERS = ("Conv", "Gemm", "MatMul", "BatchNormalization", "PRelu")


class UnknownGraph(WeightsError):
    """A whole and readable graph with an operation that is not known here."""


@dataclass
class Layer:
    """An operation with weights of its own: "conv", "linear", "scale" (x * weight + bias per channel) or "prelu"."""

    kind: str
    weight: np.ndarray
    bias: np.ndarray | None = None
    attributes: dict = field(default_factory=dict)


@dataclass
class Step:
    """One thing to do: `inputs` name values, constants or nothing (""), `layer` is what it does with weights.

    `spare` are the places of inputs that are nobody else's and may be overwritten with the result.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict
    layer: Layer | None = None
    spare: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Steps from the graph's inputs to `outputs`, and the constants that they use."""

    name: str
    input: str
    input_shape: tuple[int | None, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    constants: dict[str, np.ndarray]


def plan(model: OnnxModel, outputs: tuple[str, ...] | None = None) -> Plan:
    """The steps that lead to some values of a graph of one input, its own outputs by default.

    Raises UnknownGraph for operations that are not known, WeightsError for nodes that don't fit together.
    """
    outputs = model.outputs if outputs is None else outputs
    if len(model.inputs) != 1:
        raise UnknownGraph(
            f"{model.name} takes {len(model.inputs)} inputs; a face model takes one picture, so choose another file."
        )
    (name,) = model.inputs
    nodes = _needed(model, outputs)
    constants, room = dict(model.tensors), Room(model.tensors)
    uses = _uses(nodes, outputs)
    steps: list[Step] = []
    makers: dict[str, Step] = {}  # value -> the step that makes it
    unknown: set[str] = set()
    with fitting_graph(model.name):
        for node in nodes:
            check_sizes(node.op, [constants.get(value) for value in node.inputs])
            if node.domain or not (node.op in TENSOR or node.op in HOST or node.op in LAYERS):
                unknown.add(node.domain + "." * bool(node.domain) + node.op)
            elif not _fold(node, constants, room):
                _add(_step(node, constants, model.opset), steps, makers, uses, room)
        for step in steps:
            step.spare = _spare(step, makers, uses)
    if unknown:
        names = ", ".join(quoted(name) for name in sorted(unknown)[:4])
        raise UnknownGraph(
            f"{model.name} uses operations that are not known here: {names}; export it without them, or choose another "
            "encoder: InsightFace packs, FaceNet, AdaFace, ArcFace and SFace work."
        )
    used = {name for step in steps for name in step.inputs if step.layer is None} | set(outputs)
    return Plan(
        model.name, name, model.inputs[name], tuple(outputs), tuple(steps),
        {key: value for key, value in constants.items() if key in used},
    )  # fmt: skip


@contextmanager
def fitting_graph(name: str) -> Iterator[None]:
    """Around making something of a file's graph: whatever it ends in is one sentence that begins with the file's name.

    Which of their many errors torch and numpy end in where sizes and types don't fit is their own business.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except WeightsError:
        raise
    except TooMuch as error:
        raise WeightsError(f"{name} asks for more memory or time than any face model; fetch it again.") from error
    except Unsupported as error:
        raise UnknownGraph(
            f"{name} uses an operation in a way that is not known here ({error}); choose another file."
        ) from error
    except Exception as error:
        raise WeightsError(f"{name} is damaged: its tensors don't fit together; fetch it again.") from error


def _needed(model: OnnxModel, outputs) -> list[Node]:
    """The nodes that lead to the outputs, in an order in which they can run."""
    makers = {output: node for node in model.nodes for output in node.outputs if output}
    known = set(model.inputs) | set(model.tensors)
    done: set[int] = set()
    order: list[Node] = []
    for output in outputs:
        pending = [(output, False)]
        active: set[int] = set()
        while pending:
            value, ready = pending.pop()
            if value in known or not value:
                continue
            node = makers.get(value)
            if node is None:
                raise WeightsError(f"{model.name} is damaged: nothing makes {quoted(value)}; fetch it again.")
            if ready:
                active.discard(id(node))
                if id(node) not in done:
                    done.add(id(node))
                    order.append(node)
            elif id(node) not in done:
                if id(node) in active:
                    raise WeightsError(f"{model.name} is damaged: its nodes go round in circles; fetch it again.")
                active.add(id(node))
                pending.append((value, True))
                pending += [(needed, False) for needed in node.inputs]
    return order


def _uses(nodes, outputs):
    uses: dict[str, int] = dict.fromkeys(outputs, 2)  # an output is wanted as it is
    for node in nodes:
        for value in node.inputs:
            uses[value] = uses.get(value, 0) + 1
    return uses


def _fold(node: Node, constants, room: Room) -> bool:
    """Compute a node whose inputs are all constant."""
    if node.op == "Constant" and "tensor" in (value := node.attributes.get("value") or {}):
        constants[node.outputs[0]] = constants[value["tensor"]]
        return True
    if node.op not in HOST or any(value and value not in constants for value in node.inputs):
        return False
    inputs = [constants[value] if value else None for value in node.inputs]
    result = computed(node.op, resolved(node.attributes, constants), inputs, room.left)
    if not any(value is not None and np.may_share_memory(result, value) for value in inputs):
        looked_at = 0 if node.op in ("Shape", "Size") else sum(value.size for value in inputs if value is not None)
        room.take(max(result.size, looked_at // _LOOKED_AT))
    constants[node.outputs[0]] = result
    return True


def _add(step: Step, steps, makers, uses, room: Room) -> None:
    """One more step, or one fewer where the last one can do it too."""
    if step.layer is not None:
        room.take(step.layer.weight.size)
    joined = _join(step, makers, uses)
    if not joined:
        steps.append(step)
    else:
        room.take(makers[step.inputs[0]].layer.weight.size)
    makers.update((output, makers[step.inputs[0]] if joined else step) for output in step.outputs)


def resolved(attributes: dict, constants: Mapping[str, np.ndarray]) -> dict:
    """Attributes with the one number of a tensor in place of its name."""
    return {key: constants[value["tensor"]].reshape(-1)[0] if isinstance(value, dict) else value
            for key, value in attributes.items()}  # fmt: skip


def _step(node: Node, constants, opset: int) -> Step:
    attributes = resolved(node.attributes, constants)
    if node.op in ("Softmax", "LogSoftmax"):
        attributes["opset"] = opset
    if node.op == "Split":
        attributes["outputs"] = len(node.outputs)
    layer = _layer(node, attributes, constants)
    if layer is None:
        if node.op in LAYERS and node.op not in TENSOR:
            raise Unsupported(f"a {node.op} whose weights are not constant")
        return Step(node.op, node.inputs, node.outputs, attributes)
    return Step(node.op, node.inputs[:1], node.outputs[:1], attributes, layer)


def _layer(node: Node, attributes, constants) -> Layer | None:
    weights: list[Any] = [constants.get(value) if value else None for value in node.inputs[1:]]
    if node.op not in LAYERS or not weights or any(
        value and weight is None for value, weight in zip(node.inputs[1:], weights, strict=True)
    ):  # fmt: skip
        return None
    weight, bias = weights[0], weights[1] if len(weights) > 1 else None
    if node.op == "Conv":
        if weight.ndim != 4:
            raise Unsupported("a convolution of other than pictures")
        return Layer("conv", weight, bias, attributes)
    if node.op == "Gemm":
        return _gemm(weight, bias, attributes)
    if node.op == "MatMul":
        return Layer("linear", weight.T) if weight.ndim == 2 else None
    if node.op == "PRelu":
        return Layer("prelu", weight.reshape(-1)) if weight.size == max(weight.shape, default=1) else None
    if attributes.get("training_mode", 0) or len(node.outputs) > 1 and any(node.outputs[1:]):
        raise Unsupported("a BatchNormalization that is still training")
    scale, shift, mean, variance = (value.astype(np.float64) for value in weights)
    scale = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
    return Layer("scale", scale, shift - mean * scale)


def _gemm(weight, bias, attributes):
    if attributes.get("transA", 0) or weight.ndim != 2:
        raise Unsupported("a Gemm that turns its input")
    weight = weight if attributes.get("transB", 0) else weight.T
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    weight = weight if alpha == 1 else weight * np.float32(alpha)
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(beta), weight.shape[:1])
    return Layer("linear", weight, bias)


def _join(step: Step, makers, uses) -> bool:
    """Let the convolution or linear layer before a per-channel scale do it too, or before an addition of a bias."""
    before = makers.get(step.inputs[0]) if step.inputs else None
    if before is None or before.layer is None or before.layer.kind not in ("conv", "linear"):
        return False
    if step.layer is None or step.layer.kind != "scale" or uses.get(step.inputs[0]) != 1:
        return False
    layer, scale, shift = before.layer, step.layer.weight, step.layer.bias
    if len(scale) != len(layer.weight) or before.outputs[0] != step.inputs[0]:
        return False
    # multiplied in double precision, but not kept in it
    weight = layer.weight.astype(np.float64) * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    layer.weight = weight.astype(np.float32)
    layer.bias = shift if layer.bias is None else layer.bias * scale + shift
    before.outputs = step.outputs
    return True


def _spare(step: Step, makers, uses) -> tuple[int, ...]:
    """Which inputs of a step are new numbers, not a view of others, and used here only."""
    if step.op not in _IN_PLACE or step.layer is not None:
        return ()
    return tuple(
        place for place, value in enumerate(step.inputs)
        if uses.get(value) == 1 and (maker := makers.get(value)) is not None
        and (maker.layer is not None or maker.op in _IN_PLACE)
    )  # fmt: skip


def host_positions(op: str) -> set[int]:
    """Which inputs of an operation are wanted as host values."""
    return HOST_INPUTS.get(op, set())
