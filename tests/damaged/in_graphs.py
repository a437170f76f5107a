"""ONNX files that are whole protocol buffers and wrong inside."""

import functools
import random

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from . import whole

# numbers as they end up in attributes, shapes and sizes by accident or on purpose
ABSURD = (0, -1, 1, 2, 3, 7, 64, 255, 1000, 2**16, 10**6, 10**9, 2**31 - 1, 2**31, -(2**31), 10**12, 2**62, -(2**63))
_OPS = (
    "Conv", "Relu", "Add", "Mul", "Sub", "Div", "Sigmoid", "Reshape", "Transpose", "Concat", "Gather", "Slice", "Split",
    "Resize", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Gemm", "MatMul", "PRelu", "BatchNormalization",
    "Softmax", "Shape", "Cast", "Squeeze", "Unsqueeze", "Expand", "Tile", "Pad", "ConstantOfShape", "Range", "Where",
    "ReduceMean", "InstanceNormalization", "LRN", "ConvTranspose", "Loop", "If", "NonMaxSuppression", "TopK", "Einsum",
    "", "Conv2", "QuantizeLinear", "OneHot", "EyeLike", "RandomNormal", "CumSum", "ScatterND", "DepthToSpace",
)  # fmt: skip


@functools.cache
def _parsed(kind: str) -> onnx.ModelProto:
    return onnx.load_from_string(whole.graph(kind))


def _copy(kind: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(_parsed(kind))
    return model


def _shape(tensor, rng):
    """One size of a tensor made another, with numbers to match or without."""
    if not tensor.dims:
        tensor.dims.append(rng.choice(ABSURD))
        return
    place = rng.randrange(len(tensor.dims))
    size = rng.choice((tensor.dims[place] + 1, max(1, tensor.dims[place] // 2), *ABSURD))
    if rng.random() < 0.5 and 0 <= size < 4096 and tensor.raw_data:
        data = numpy_helper.to_array(tensor)
        shape = list(data.shape)
        shape[place] = size
        if np.prod(shape) < 2**22:
            tensor.CopyFrom(numpy_helper.from_array(np.resize(data, shape), tensor.name))
            return
    tensor.dims[place] = size


def tensor(kind: str, rng: random.Random) -> bytes:
    """A weight of another shape or type, missing, doubled, swapped, empty, infinite, or in a second file."""
    model = _copy(kind)
    tensors = model.graph.initializer
    place = rng.randrange(len(tensors))
    chosen, other = tensors[place], tensors[rng.randrange(len(tensors))]
    way = rng.randrange(10)
    if way < 3:
        _shape(chosen, rng)
    elif way == 3:
        del tensors[place]
    elif way == 4:
        tensors.append(other)
    elif way == 5:
        chosen.name, other.name = other.name, chosen.name
    elif way == 6:
        chosen.data_type = rng.choice((0, 2, 4, 6, 7, 8, 9, 10, 11, 14, 16, 17, 200))
    elif way == 7:
        chosen.raw_data = b"" if rng.random() < 0.5 else chosen.raw_data[: rng.randrange(len(chosen.raw_data) + 1)]
    elif way == 8:
        filler = rng.choice((np.nan, np.inf, -np.inf, 3e38, 0.0))
        data = np.array(numpy_helper.to_array(chosen))
        data.reshape(-1)[: rng.randrange(data.size + 1)] = filler if data.dtype.kind == "f" else 2**31 - 1
        chosen.CopyFrom(numpy_helper.from_array(data, chosen.name))
    else:
        chosen.data_location = onnx.TensorProto.EXTERNAL
    return model.SerializeToString()


def attribute(kind: str, rng: random.Random) -> bytes:
    """An attribute with an absurd value, another type, or missing."""
    model = _copy(kind)
    node = rng.choice([node for node in model.graph.node if node.attribute])
    place = rng.randrange(len(node.attribute))
    chosen = node.attribute[place]
    way = rng.randrange(8)
    if way == 0:
        del node.attribute[place]
    elif way == 1:
        name = chosen.name
        value = rng.choice((1.5, "text", [1.0, float("nan")], [1] * 9, [0, 0], 2**62, float("inf")))
        chosen.CopyFrom(helper.make_attribute(name, value))
    elif way == 2:
        chosen.name = rng.choice(("group", "strides", "pads", "dilations", "axis", "perm", "to", "nonsense", ""))
    elif chosen.type == AttributeProto.INTS:
        if len(chosen.ints) and rng.random() < 0.8:
            chosen.ints[rng.randrange(len(chosen.ints))] = rng.choice(ABSURD)
        else:
            chosen.ints.append(rng.choice(ABSURD))
    elif chosen.type == AttributeProto.INT:
        chosen.i = rng.choice(ABSURD)
    elif chosen.type == AttributeProto.FLOAT:
        chosen.f = rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    elif chosen.type == AttributeProto.TENSOR:
        _shape(chosen.t, rng)
    else:
        chosen.s = rng.choice((b"", b"nearest", b"SAME_UPPER", b"\xff\xfe", b"a" * 100_000))
    return model.SerializeToString()


def constant(kind: str, rng: random.Random) -> bytes:
    """A whole number among the weights or constants, a size or an axis, made absurd."""
    model = _copy(kind)
    held = [*model.graph.initializer, *(attribute.t for node in model.graph.node for attribute in node.attribute
                                        if attribute.type == AttributeProto.TENSOR)]  # fmt: skip
    held = [tensor for tensor in held if tensor.data_type == onnx.TensorProto.INT64 and sum(tensor.dims, 1)]
    if not held:
        return attribute(kind, rng)
    chosen = rng.choice(held)
    data = np.array(numpy_helper.to_array(chosen)).reshape(-1)
    if data.size:
        data[rng.randrange(data.size)] = rng.choice(ABSURD)
    chosen.CopyFrom(numpy_helper.from_array(data.reshape(chosen.dims), chosen.name))
    return model.SerializeToString()


def node(kind: str, rng: random.Random) -> bytes:
    """A node missing, doubled, of another operation, or connected to something else; many at times."""
    model = _copy(kind)
    nodes = model.graph.node
    for _ in range(rng.choice((1, 1, 1, 2, 5, 30))):
        place = rng.randrange(len(nodes))
        chosen, other = nodes[place], nodes[rng.randrange(len(nodes))]
        way = rng.randrange(8)
        if way == 0:
            del nodes[place]
        elif way == 1:
            nodes.add().CopyFrom(other)
        elif way == 2:
            chosen.op_type = rng.choice(_OPS)
        elif way == 3 and chosen.input and other.output:
            chosen.input[rng.randrange(len(chosen.input))] = rng.choice(other.output)
        elif way == 4 and chosen.input and other.input:
            chosen.input[rng.randrange(len(chosen.input))] = rng.choice(("", rng.choice(other.input)))
        elif way == 5 and chosen.output and other.output:
            chosen.output[0] = other.output[0]
        elif way == 6:
            del chosen.input[rng.randrange(len(chosen.input) + 1) :]
        else:
            chosen.domain = rng.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "mine"))
        if not len(nodes):
            break
    return model.SerializeToString()


def interface(kind: str, rng: random.Random) -> bytes:
    """Inputs and outputs of other sizes, ranks, names and numbers; another operator set."""
    model = _copy(kind)
    graph = model.graph
    way = rng.randrange(8)
    value = graph.input[0]
    dims = value.type.tensor_type.shape.dim
    if way < 3:
        dims[rng.randrange(len(dims))].dim_value = rng.choice(ABSURD)
    elif way == 3:
        del dims[rng.randrange(len(dims))]
    elif way == 4:
        del graph.output[rng.randrange(len(graph.output))]
    elif way == 5:
        graph.output[0].name = rng.choice(graph.node).output[0]
    elif way == 6:
        graph.input.add().CopyFrom(helper.make_tensor_value_info("second", 1, [1]))
    else:
        model.opset_import[0].version = rng.choice((0, 1, 5, 9, 18, 999, 2**62))
    return model.SerializeToString()


DAMAGE = {"weight": tensor, "attribute": attribute, "constant": constant, "node": node, "interface": interface}
