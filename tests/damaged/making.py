"""Small ONNX files from nodes, and pieces of the wire format that they are written in."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def model(nodes, weights=None, shape=(1, 3, 112, 112), outputs=("y",), opset=13) -> bytes:
    """A model with input x and nodes given as (op, inputs, outputs, attributes); weights by name."""
    made = [helper.make_node(op, inputs.split(" "), results.split(" "), **attributes)
            for op, inputs, results, attributes in nodes]  # fmt: skip
    held = [value if isinstance(value, TensorProto) else numpy_helper.from_array(np.asarray(value), name)
            for name, value in (weights or {}).items()]  # fmt: skip
    graph = helper.make_graph(
        made, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs], held,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def whole(*numbers):
    """Sizes as ONNX wants them."""
    return np.array(numbers, np.int64)


def varint(number: int) -> bytes:
    """A number as protocol buffers have it."""
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, content: bytes) -> bytes:
    """A field that holds bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# the end of every bomb that should make a vector of its input in the end
