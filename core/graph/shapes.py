"""Operations on values that stay on the host: sizes, axes and other small constants, as numpy arrays.

Graphs compute the sizes of their reshapes from the sizes of their tensors. Those numbers are known without looking at
any tensor's content, so this arithmetic never waits for a device. Meanings: onnx.ai/onnx/operators.
"""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from .bounds import TooMuch

_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Mod", "Pow", "Equal", "Less", "Greater", "And", "Or", "Where",
                 "Min", "Max"}  # fmt: skip
LIMIT = 2**18  # numbers of a result; shape arithmetic has a handful, and a claimed size must not become memory


def _bounded(shape, limit=LIMIT):
    shape = [int(size) for size in shape]
    if prod(shape) > limit or any(size < 0 for size in shape):
        raise TooMuch(f"a constant of shape {shape}")
    return shape


def computed(op: str, attributes: dict, inputs: list, limit: int = LIMIT) -> np.ndarray:
    """The result of an operation of HOST; TooMuch, before it is made, when it has more numbers than `limit`."""
    shapes = [np.shape(value) for value in inputs if value is not None]
    if op in _BROADCASTING:
        _bounded(np.broadcast_shapes(*shapes), limit)
    elif op == "Concat":
        _bounded([sum(prod(shape) for shape in shapes)], limit)
    elif op == "Gather":
        _bounded([prod(shapes[0]) // max(1, shapes[0][attributes.get("axis", 0)]) * prod(shapes[1])], limit)
    with np.errstate(all="ignore"):
        return np.asarray(HOST[op](attributes, *inputs))


def axes_of(attributes: dict, inputs: Sequence, place: int = 1) -> list[int] | None:
    """Axes from the attribute (older operator sets) or from an input (newer ones); None when there are none."""
    given = attributes.get("axes")
    if given is None and len(inputs) > place and inputs[place] is not None:
        given = np.asarray(inputs[place]).reshape(-1).tolist()
    return None if given is None else [int(axis) for axis in given]


def _constant(attributes):
    for key in ("value_int", "value_float", "value_ints", "value_floats"):
        if key in attributes:
            return np.array(attributes[key], np.int64 if "int" in key else np.float32)
    raise KeyError("value")


def unsqueezed_shape(shape: Sequence[int], axes: Sequence[int] | None) -> list[int]:
    """The shape with a 1 at each of `axes`; KeyError where there are none."""
    if axes is None:
        raise KeyError("axes")
    rank = len(shape) + len(axes)
    wanted = {axis % rank for axis in axes}
    rest = iter(shape)
    return [1 if place in wanted else next(rest) for place in range(rank)]


def squeezed_shape(shape: Sequence[int], axes: Sequence[int] | None) -> list[int]:
    """The shape without `axes`, or without every 1."""
    drop = {axis % len(shape) for axis in axes} if axes else {place for place, size in enumerate(shape) if size == 1}
    return [size for place, size in enumerate(shape) if place not in drop]


def reshaped(shape: Sequence[int], target: np.ndarray | Sequence[int], allow_zero: int = 0) -> list[int]:
    """ONNX's Reshape target as sizes: 0 keeps the size at that place unless `allow_zero`."""
    target = [int(size) for size in np.asarray(target).reshape(-1)]
    return [shape[place] if size == 0 and not allow_zero else size for place, size in enumerate(target)]


def slices(attributes: dict, inputs: Sequence, rank: int) -> tuple[slice, ...]:
    """One slice per axis for ONNX's Slice, from its inputs (set 10 and later) or its attributes."""
    values: list[Any]
    if "starts" in attributes:
        values = [attributes.get(key) for key in ("starts", "ends", "axes", "steps")]
    else:
        values = [None if value is None else np.asarray(value).reshape(-1).tolist() for value in inputs[1:]]
        values += [None] * (4 - len(values))
    starts, ends, axes, steps = values
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # ends such as INT64_MAX and INT64_MIN mean "as far as it goes", which slices do by themselves
        cut[axis % rank] = slice(start, None if step < 0 and end < -(2**31) else end, step)
    return tuple(cut)


def _reduce(function):
    def apply(attributes, *inputs):
        axes = axes_of(attributes, inputs)
        keep = bool(attributes.get("keepdims", 1))
        return function(inputs[0], axis=None if axes is None else tuple(axes), keepdims=keep)

    return apply


def _range(attributes, start, limit, delta):
    start, limit, delta = (value.reshape(()) for value in (start, limit, delta))
    _bounded([max(0, int(np.ceil((limit - start) / delta)))])
    return np.arange(start, limit, delta)


_CASTS = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}


def _divide(attributes, a, b):
    return a // b if np.issubdtype(np.result_type(a, b), np.integer) else a / b


HOST = {
    "Constant": lambda attributes: _constant(attributes),
    "ConstantOfShape": lambda attributes, shape: np.full(_bounded(shape), attributes.get("value", np.float32(0))),
    "Identity": lambda attributes, x: x,
    "Cast": lambda attributes, x: x.astype(_CASTS[attributes["to"]]),
    "Add": lambda attributes, a, b: a + b,
    "Sub": lambda attributes, a, b: a - b,
    "Mul": lambda attributes, a, b: a * b,
    "Div": _divide,
    "Mod": lambda attributes, a, b: np.mod(a, b),
    "Pow": lambda attributes, a, b: np.power(a, b),
    "Neg": lambda attributes, x: -x,
    "Abs": lambda attributes, x: np.abs(x),
    "Sqrt": lambda attributes, x: np.sqrt(x),
    "Reciprocal": lambda attributes, x: 1 / x,
    "Floor": lambda attributes, x: np.floor(x),
    "Ceil": lambda attributes, x: np.ceil(x),
    "Min": lambda attributes, *inputs: reduce(np.minimum, inputs),
    "Max": lambda attributes, *inputs: reduce(np.maximum, inputs),
    "Equal": lambda attributes, a, b: a == b,
    "Less": lambda attributes, a, b: a < b,
    "Greater": lambda attributes, a, b: a > b,
    "Not": lambda attributes, x: ~x,
    "And": lambda attributes, a, b: a & b,
    "Or": lambda attributes, a, b: a | b,
    "Where": lambda attributes, condition, a, b: np.where(condition, a, b),
    "Range": _range,
    "Concat": lambda attributes, *inputs: np.concatenate(inputs, attributes["axis"]),
    "Gather": lambda attributes, x, at: np.take(x, at, attributes.get("axis", 0)),
    "Slice": lambda attributes, *inputs: inputs[0][slices(attributes, inputs, inputs[0].ndim)],
    "Unsqueeze": lambda attributes, *inputs: inputs[0].reshape(
        unsqueezed_shape(inputs[0].shape, axes_of(attributes, inputs))
    ),
    "Squeeze": lambda attributes, *inputs: inputs[0].reshape(
        squeezed_shape(inputs[0].shape, axes_of(attributes, inputs))
    ),
    "Reshape": lambda attributes, x, shape: x.reshape(reshaped(x.shape, shape, attributes.get("allowzero", 0))),
    "Flatten": lambda attributes, x: x.reshape(prod(x.shape[: attributes.get("axis", 1)]), -1),
    "Transpose": lambda attributes, x: x.transpose(attributes.get("perm")),
    "Expand": lambda attributes, x, shape: np.broadcast_to(
        x, _bounded(np.broadcast_shapes(x.shape, tuple(int(size) for size in shape)))
    ),
    "Shape": lambda attributes, x: np.array(x.shape[attributes.get("start", 0) : attributes.get("end")], np.int64),
    "Size": lambda attributes, x: np.array(x.size, np.int64),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
