"""Operations on tensors, by their ONNX names: attributes and inputs in, a tensor or several out.

An input may be a tensor, a numpy array (a constant or a size, see `shapes`) or None where an optional one is left out.
Meanings: onnx.ai/onnx/operators. What is not exactly expressible raises Unsupported, so that nothing is approximated.
"""

from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..quoted import quoted
from .bounds import check_size
from .shapes import axes_of, reshaped, slices, squeezed_shape, unsqueezed_shape
from .windows import Unsupported, average_pool, max_pool

_FEW = 2**12  # sizes, axes or places in one list


def numbers(value: Tensor | np.ndarray) -> list:
    """A host value as a flat list of Python numbers."""
    if isinstance(value, Tensor):
        raise Unsupported("sizes that depend on the picture")
    if np.size(value) > _FEW:
        raise ValueError("a list of so many sizes")
    return np.asarray(value).reshape(-1).tolist()


def number(value: Tensor | np.ndarray) -> float:
    """A host value of one element as a Python number."""
    return numbers(value)[0]


def on(tensor: Tensor, value: Tensor | np.ndarray) -> Tensor | float:
    """A value as something that can be combined with a tensor: a number or a tensor on its device."""
    if isinstance(value, Tensor):
        return value.to(tensor.device, tensor.dtype) if value.is_floating_point() else value.to(tensor.device)
    return number(value) if value.size == 1 else torch.tensor(value.tolist(), device=tensor.device)


def _binary(function):
    def apply(attributes, a, b):
        one = a if isinstance(a, Tensor) else b
        a, b = (value if value is one else on(one, value) for value in (a, b))
        return function(a, b)

    return apply


def _unary(function):
    return lambda attributes, x: function(x)


def _many(function):
    def apply(attributes, *inputs):
        one = next(value for value in inputs if isinstance(value, Tensor))
        # one by one: these take tensors only
        tensors = [torch.as_tensor(on(one, value), device=one.device, dtype=one.dtype) for value in inputs]
        result = tensors[0]
        for tensor in tensors[1:]:
            result = function(result, tensor)
        return result

    return apply


def _divide(a, b):
    whole = all(isinstance(x, int) or isinstance(x, Tensor) and not x.is_floating_point() for x in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _there(x, *axes):
    """ValueError for an axis that a tensor does not have: not every operation on the meta device looks."""
    if not all(-x.ndim <= axis < x.ndim for axis in axes):
        raise ValueError("an axis that is not there")


def _reduce(function):
    def apply(attributes, *inputs):
        x, axes = inputs[0], axes_of(attributes, inputs)
        if not axes and attributes.get("noop_with_empty_axes", 0):
            return x
        _there(x, *(axes or ()))
        return function(x, list(range(x.ndim)) if not axes else axes, bool(attributes.get("keepdims", 1)))

    return apply


def _clip(attributes, x, low=None, high=None):
    low = attributes.get("min") if low is None else number(low)
    high = attributes.get("max") if high is None else number(high)
    return x if low is None and high is None else x.clamp(low, high)


def _softmax(function):
    def apply(attributes, x):
        _there(x, attributes.get("axis", -1))
        if attributes["opset"] >= 13:
            return function(x, attributes.get("axis", -1))
        # before set 13: over all axes from `axis` on, as one
        axis = attributes.get("axis", 1) % x.ndim
        return function(x.reshape(*x.shape[:axis], prod(x.shape[axis:])), -1).reshape(x.shape)

    return apply


def _pad(attributes, x, pads=None, value=None, axes=None):
    mode = attributes.get("mode", "constant")
    pads = attributes.get("pads") if pads is None else numbers(pads)
    if axes is not None or len(pads) != 2 * x.ndim:
        raise Unsupported("Pad of some axes only")
    value = attributes.get("value", 0.0) if value is None else number(value)
    half = x.ndim
    turned = [size for axis in reversed(range(half)) for size in (pads[axis], pads[axis + half])]
    if mode == "constant":
        return F.pad(x, turned, value=value)
    if mode not in ("reflect", "edge") or any(turned[4:]):
        raise Unsupported(f"Pad in mode {quoted(mode)}")
    return F.pad(x, turned[:4], mode="reflect" if mode == "reflect" else "replicate")


def _resize(attributes, x, *rest):
    """Resize (set 10 and later) and Upsample. Only forms that torch computes the same way."""
    scales = attributes.get("scales")
    sizes = None
    if len(rest) == 1:  # Upsample and Resize of set 10
        scales = numbers(rest[0])
    elif rest:
        scales = numbers(rest[1]) if rest[1] is not None and len(numbers(rest[1])) else None
        sizes = numbers(rest[2]) if len(rest) > 2 and rest[2] is not None else None
    if sizes is None and scales is None or x.ndim != 4:
        raise Unsupported("Resize without sizes")
    if sizes is None:
        sizes = [int(size * scale) for size, scale in zip(x.shape, scales, strict=True)]
    if list(sizes[:2]) != list(x.shape[:2]):
        raise Unsupported("Resize of batch or channels")
    size = [int(length) for length in sizes[2:]]
    mode, antialias = attributes.get("mode", "nearest"), attributes.get("antialias", 0)
    older = len(rest) <= 1
    transform = attributes.get("coordinate_transformation_mode", "asymmetric" if older else "half_pixel")
    if mode == "nearest" and _as_torch_rounds(attributes, x.shape[2:], size, transform, older):
        return F.interpolate(x, size, mode="nearest")
    linear = transform in ("align_corners", "half_pixel") or (transform == "pytorch_half_pixel" and min(size) > 1)
    if mode == "linear" and linear and not antialias:
        return F.interpolate(x, size, mode="bilinear", align_corners=transform == "align_corners")
    raise Unsupported(f"Resize {quoted(mode)}, {quoted(transform)}")


def _as_torch_rounds(attributes, before, after, transform, older):
    """Whether nearest pixels are those of torch, which takes floor(place * before / after)."""
    rounding = "floor" if older else attributes.get("nearest_mode", "round_prefer_floor")
    if transform == "asymmetric":
        # halves are the only fractions when a picture is doubled
        doubled = all(new in (old, 2 * old) for old, new in zip(before, after, strict=True))
        return rounding == "floor" or (rounding == "round_prefer_floor" and doubled)
    whole = all(new % old == 0 for old, new in zip(before, after, strict=True))
    return whole and transform in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")


def _split(attributes, x, sizes=None):
    axis = attributes.get("axis", 0)
    sizes = attributes.get("split") if sizes is None else numbers(sizes)
    if sizes is None:
        length = -(-x.shape[axis] // attributes["outputs"])
        return x.split(length, axis)
    return x.split([int(size) for size in sizes], axis)


def _concat(attributes, *inputs):
    one = next(value for value in inputs if isinstance(value, Tensor))
    tensors = [value if isinstance(value, Tensor) else torch.tensor(value.tolist(), device=one.device, dtype=one.dtype)
               for value in inputs]  # fmt: skip
    return torch.cat(tensors, attributes["axis"])


def _gather(attributes, x, at):
    axis = attributes.get("axis", 0)
    if isinstance(at, Tensor):
        check_size(x.numel() // max(1, x.shape[axis]) * at.numel())
        raise Unsupported("places that depend on the picture")
    places, length = numbers(at), x.shape[axis]
    if not all(-length <= place < length for place in places):
        raise ValueError("a place outside of a tensor")
    if at.size == 1 and at.ndim < 2:
        picked = x.select(axis, places[0])
        return picked if at.ndim == 0 else picked.unsqueeze(axis)
    flat = x.index_select(axis, torch.tensor([place % length for place in places], device=x.device, dtype=torch.long))
    return flat.unflatten(axis, at.shape) if at.ndim != 1 else flat


def _slice(attributes, *inputs):
    x = inputs[0]
    cut = slices(attributes, [None, *(value if value is None else np.array(numbers(value)) for value in inputs[1:])],
                 x.ndim)  # fmt: skip
    turned = [axis for axis, part in enumerate(cut) if part.step is not None and part.step < 0]
    if turned:
        raise Unsupported("Slice backwards")
    return x[cut]


def _expand(attributes, x, shape):
    return x.expand(torch.broadcast_shapes(x.shape, [int(size) for size in numbers(shape)]))


def _vector(x, value):
    """A weight as a tensor beside x, however short it is."""
    return torch.as_tensor(value, device=x.device, dtype=x.dtype)


def _layer_norm(attributes, x, scale, bias=None):
    axis = attributes.get("axis", -1) % x.ndim
    scale, bias = (None if value is None else _vector(x, value) for value in (scale, bias))
    return F.layer_norm(x, x.shape[axis:], scale, bias, attributes.get("epsilon", 1e-5))


def _instance_norm(attributes, x, scale, bias):
    scale, bias = (_vector(x, value) for value in (scale, bias))
    return F.instance_norm(x, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5))


def _lp_normalise(attributes, x):
    if attributes.get("p", 2) != 2:
        raise Unsupported("LpNormalization other than 2")
    return F.normalize(x, dim=attributes.get("axis", -1), eps=0.0)


def _l2(x, axes, keep):
    return torch.linalg.vector_norm(x, 2, axes, keep)


def _where(attributes, condition, a, b):
    one = next(value for value in (a, b, condition) if isinstance(value, Tensor))
    condition, a, b = (value if isinstance(value, Tensor) else torch.tensor(value.tolist(), device=one.device)
                       for value in (condition, a, b))  # fmt: skip
    return torch.where(condition.bool(), a, b)


def _pow(x, y):
    return x * x if isinstance(y, int | float) and y == 2 else x**y


_CASTS = {1: None, 10: None, 11: None, 16: None, 6: torch.int32, 7: torch.int64, 9: torch.bool}


def _cast(attributes, x):
    """Floating types stay what the module computes in, so that a half-precision module stays one."""
    if attributes["to"] not in _CASTS:
        raise Unsupported(f"Cast to type {attributes['to']}")
    dtype = _CASTS[attributes["to"]]
    if dtype is None:
        return x if x.is_floating_point() else x.float()
    return x.to(dtype)


def _dropout(attributes, x, *rest):
    return x


TENSOR = {
    "Add": _binary(lambda a, b: a + b),
    "Sub": _binary(lambda a, b: a - b),
    "Mul": _binary(lambda a, b: a * b),
    "Div": _binary(_divide),
    "Pow": _binary(_pow),
    "Equal": _binary(lambda a, b: a == b),
    "Less": _binary(lambda a, b: a < b),
    "Greater": _binary(lambda a, b: a > b),
    "Min": _many(torch.minimum),
    "Max": _many(torch.maximum),
    "Sum": _many(torch.add),
    "Neg": _unary(torch.neg),
    "Abs": _unary(torch.abs),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Erf": _unary(torch.erf),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Relu": _unary(F.relu),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Softplus": _unary(F.softplus),
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda x: x),
    "GlobalAveragePool": _unary(lambda x: x.mean(list(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _unary(lambda x: x.amax(list(range(2, x.ndim)), keepdim=True)),
    "Dropout": _dropout,
    "LeakyRelu": lambda attributes, x: F.leaky_relu(x, attributes.get("alpha", 0.01)),
    "Elu": lambda attributes, x: F.elu(x, attributes.get("alpha", 1.0)),
    "HardSigmoid": lambda attributes, x: (x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1),
    "Gelu": lambda attributes, x: F.gelu(x, approximate=attributes.get("approximate", "none")),
    "Clip": _clip,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceMean": _reduce(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduce(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduce(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceL2": _reduce(_l2),
    "LpNormalization": _lp_normalise,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
    "MatMul": _binary(torch.matmul),
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "Slice": _slice,
    "Reshape": lambda attributes, x, shape: x.reshape(
        reshaped(x.shape, numbers(shape), attributes.get("allowzero", 0))
    ),
    "Flatten": lambda attributes, x: x.reshape(prod(x.shape[: attributes.get("axis", 1)]), -1),
    "Transpose": lambda attributes, x: x.permute(attributes.get("perm") or tuple(reversed(range(x.ndim)))),
    "Unsqueeze": lambda attributes, *inputs: inputs[0].reshape(
        unsqueezed_shape(inputs[0].shape, axes_of(attributes, inputs))
    ),
    "Squeeze": lambda attributes, *inputs: inputs[0].reshape(
        squeezed_shape(inputs[0].shape, axes_of(attributes, inputs))
    ),
    "Expand": _expand,
    "Cast": _cast,
    "Where": _where,
    "Shape": lambda attributes, x: np.array(
        tuple(x.shape)[attributes.get("start", 0) : attributes.get("end")], np.int64
    ),
}

# The operations that may be given numbers other than floating-point ones: comparisons, choices, and what moves numbers.
ANY_TYPE = {
    "Cast", "Where", "Equal", "Less", "Greater", "Identity", "Reshape", "Flatten", "Transpose", "Unsqueeze", "Squeeze",
    "Expand", "Slice", "Concat", "Split", "Gather", "Shape",
}  # fmt: skip


def in_place(op: str, target: Tensor, *others: Tensor) -> Tensor:
    """Add or Relu, whose result is written over `target`."""
    return F.relu(target, inplace=True) if op == "Relu" else target.add_(*others)


# Which inputs are wanted as host values, by operation.
HOST_INPUTS = {
    "Reshape": {1}, "Resize": {1, 2, 3}, "Upsample": {1}, "Slice": {1, 2, 3, 4}, "Pad": {1, 2, 3}, "Clip": {1, 2},
    "Expand": {1}, "Unsqueeze": {1}, "Squeeze": {1}, "Split": {1}, "ReduceMean": {1}, "ReduceSum": {1},
    "ReduceMax": {1}, "ReduceMin": {1}, "ReduceL2": {1}, "Dropout": {1, 2},
    "Gather": {1},
}  # fmt: skip
