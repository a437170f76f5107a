"""ONNX files: nodes, weights, inputs and outputs, read from the bytes without the `onnx` package.

Field numbers and meanings: github.com/onnx/onnx, onnx/onnx.proto3.
"""

import mmap
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from . import protobuf
from .protobuf import BYTES, FIXED32, VARINT, Budget, ProtobufError, fields, integers, message_of, signed, text
from .reader import WeightsError, why_no_weights

_FORMAT_LIMIT = 2**31  # bytes of a protocol buffer
# Limits far above any face model (IResNet-100 has 270 nodes and 570 weights) and far below what takes seconds.
_FIELDS, _NODES, _TENSORS, _ENDS, _DIMENSIONS = 400_000, 10_000, 20_000, 1000, 8
_TYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
          11: np.float64}  # fmt: skip
# attribute types: f, i, s, t, floats, ints, strings
_F, _I, _S, _T, _FLOATS, _INTS = 2, 3, 4, 5, 7, 8


@dataclass(frozen=True)
class Node:
    """One operation. `attributes` hold int, float, str, lists of numbers, and names of tensors as {"tensor": name}."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict = field(default_factory=dict)
    domain: str = ""


@dataclass(frozen=True)
class OnnxModel:
    """A graph: nodes in an order in which they can run, and its weights as read-only arrays.

    `inputs` maps what must be fed to its declared shape, with None for sizes that are free; `outputs` are names.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]
    inputs: dict[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    opset: int


def read_onnx(path: str | Path) -> OnnxModel:
    """Read an `.onnx` file. Arrays are views of the mapped file: copy what is kept.

    Raises WeightsError with one sentence for a missing, empty, truncated or damaged file, for weights in a second
    file, and for number types that no face model has.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            reason = why_no_weights(file.read(512), path.name)
            if reason is not None:
                raise WeightsError(reason)
            if path.stat().st_size >= _FORMAT_LIMIT:
                raise WeightsError(f"{path.name} is larger than any ONNX file can be (2 GB); fetch it again.")
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise WeightsError(
            f"{path.name} can't be opened ({error.strerror}); check that the file is there and readable."
        ) from error
    return parse_onnx(content, path.name)


def parse_onnx(content: memoryview, name: str) -> OnnxModel:
    """The model in the bytes of an ONNX file; `name` is the file's, for messages. Errors as in `read_onnx`."""
    try:
        return _model(content, name)
    except (ProtobufError, struct.error, ValueError, OverflowError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{name} is no whole ONNX model ({len(content):,} bytes are there); fetch it again."
        ) from error


def _model(content, name):
    budget, graph, opset = Budget(_FIELDS), None, 0
    for number, _, value in fields(content, budget):
        if number == 7:
            graph = message_of(value)
        elif number == 8:
            domain, version = _opset(message_of(value), budget)
            opset = version if domain in ("", "ai.onnx") else opset
    if graph is None:
        raise ProtobufError("no graph")
    return _graph(graph, budget, name, opset)


def _opset(message, budget):
    domain, version = "", 0
    for number, kind, value in fields(message, budget):
        if number == 1:
            domain = text(value)
        elif number == 2 and kind == VARINT:
            version = value
    return domain, version


def _graph(message, budget, name, opset):
    nodes, tensors, inputs, outputs = [], {}, {}, []
    for number, _, value in fields(message, budget):
        if number == 1:
            nodes.append(_node(message_of(value), budget, tensors, name))
        elif number == 5:
            key, tensor = _tensor(message_of(value), budget, name)
            tensors[key] = tensor
        elif number == 11:
            key, shape = _value_info(message_of(value), budget)
            inputs[key] = shape
        elif number == 12:
            outputs.append(_value_info(message_of(value), budget)[0])
        elif number == 15:
            raise WeightsError(f"{name} keeps its weights in a form that is not supported (sparse); use another file.")
        if len(nodes) > _NODES or max(len(tensors), len(inputs)) > _TENSORS or len(outputs) > _ENDS:
            raise WeightsError(f"{name} has more nodes than any face model, so it was not read; fetch it again.")
    if not nodes or not outputs:
        raise ProtobufError("no nodes or no outputs")
    inputs = {key: shape for key, shape in inputs.items() if key not in tensors}
    return OnnxModel(name, tuple(nodes), tensors, inputs, tuple(outputs), opset)


def _node(message, budget, tensors, name):
    inputs, outputs, op, domain, attributes = [], [], "", "", {}
    for number, _, value in fields(message, budget):
        if number == 1:
            inputs.append(text(value))
        elif number == 2:
            outputs.append(text(value))
        elif number == 4:
            op = text(value)
        elif number == 7:
            domain = text(value)
        elif number == 5:
            key, content = _attribute(message_of(value), budget, name)
            if isinstance(content, np.ndarray):
                # kept with the other weights, under a name that no file can use: it holds a space and a line feed
                place = f"constant\n {len(tensors)}"
                tensors[place] = content
                content = {"tensor": place}
            attributes[key] = content
        if max(len(inputs), len(outputs)) > _ENDS:
            raise ProtobufError("a node of so many inputs or outputs")
    return Node(op, tuple(inputs), tuple(outputs), attributes, "" if domain == "ai.onnx" else domain)


def _attribute(message, budget, name):
    key, single, floats, ints = "", None, [], []
    kind_of_value = None
    for number, kind, value in fields(message, budget):
        if number == 1:
            key = text(value)
        elif number == 20 and kind == VARINT:
            kind_of_value = value
        elif number == _F and kind == FIXED32:
            single = struct.unpack("<f", value)[0]
        elif number == _I and kind == VARINT:
            single = signed(value)
        elif number == _S and kind == BYTES:
            single = bytes(value).decode("utf-8", "replace")
        elif number == _T:
            single = _tensor(message_of(value), budget, name)[1]
        elif number == _FLOATS:
            floats += protobuf.floats(value, budget)
        elif number == _INTS:
            ints += integers(value, budget)
        # graphs inside of nodes (loops, branches) and lists of strings stay unread: no operation known here has one
    if kind_of_value == 6:
        return key, floats
    if kind_of_value == 7:
        return key, ints
    return key, single if single is not None else floats or ints or None


def _value_info(message, budget):
    key, shape = "", ()
    for number, _, value in fields(message, budget):
        if number == 1:
            key = text(value)
        elif number == 2:
            for kind_number, _, kind in fields(message_of(value), budget):
                if kind_number == 1:  # a tensor
                    shape = _shape(message_of(kind), budget)
    return key, shape


def _shape(tensor_type, budget):
    sizes = []
    for number, _, value in fields(tensor_type, budget):
        if number != 2:
            continue
        for dimension_number, _, dimension in fields(message_of(value), budget):
            if dimension_number != 1:
                continue
            size = None
            for part, kind, content in fields(message_of(dimension), budget):
                if part == 1 and kind == VARINT and 0 < signed(content):
                    size = content
            sizes.append(size)
    return tuple(sizes)


def _tensor(message, budget, name):
    dims, kind_of_data, key, raw, typed = [], 0, "", None, {}
    for number, kind, value in fields(message, budget):
        if number == 1:
            dims += integers(value, budget)
        elif number == 2 and kind == VARINT:
            kind_of_data = value
        elif number == 8:
            key = text(value)
        elif number == 9:
            raw = message_of(value)
        elif number == 14 and value == 1:
            raise WeightsError(
                f"{name} keeps its weights in a second file beside it, which is not read; use a version that is one "
                "file."
            )
        elif number in (4, 5, 7, 10):
            typed.setdefault(number, []).append((kind, value))
    if kind_of_data not in _TYPES:
        raise WeightsError(
            f"{name} holds weights of a number type that is not supported here (ONNX type {kind_of_data}); use a "
            "float32 or float16 version."
        )
    if len(dims) > _DIMENSIONS or any(size < 0 for size in dims):
        raise ProtobufError("an impossible shape")
    dtype = np.dtype(_TYPES[kind_of_data])
    data = np.frombuffer(raw, dtype.newbyteorder("<")) if raw is not None else _typed(typed, kind_of_data, dtype)
    if len(data) != prod(dims):  # whatever size is claimed, nothing was made of it yet
        raise ProtobufError("a tensor that lacks numbers")
    return key, data.reshape(dims)


def _typed(typed, kind_of_data, dtype):
    """Numbers that are in a field of their own type instead of raw bytes."""
    if kind_of_data == 1 and 4 in typed:
        return np.concatenate([np.frombuffer(message_of(value), "<f4") for _, value in typed[4]])
    if kind_of_data == 11 and 10 in typed:
        return np.concatenate([np.frombuffer(message_of(value), "<f8") for _, value in typed[10]])
    place = 7 if kind_of_data == 7 else 5
    taken = np.uint16 if kind_of_data == 10 else dtype
    parts = [np.array([signed(value)]).astype(taken) if kind == VARINT else protobuf.packed_integers(value, taken)
             for kind, value in typed.get(place, [])]  # fmt: skip
    return np.concatenate([np.zeros(0, taken), *parts]).view(dtype)  # float16 travels as its bits
