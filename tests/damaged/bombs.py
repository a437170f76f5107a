"""ONNX files that were made to take all memory, all time or the process: small files with large claims."""

import numpy as np
from onnx import AttributeProto, TensorProto, helper

from .making import field, floats, model, varint, whole

LARGE = 10**10
MANY = 19_000  # nodes


_POOLED = [("GlobalAveragePool", "p", "q", {}), ("Flatten", "q", "y", {})]


def deep_messages(rng):
    """Messages in messages, as a graph in an attribute of a node of a graph..., ten thousand deep."""
    content = b""
    for _ in range(rng.choice((100, 3000))):
        content = field(1, field(5, field(1, b"body") + field(6, content)) + field(4, b"If"))
    return field(7, content)


def tiny_fields(rng):
    """Millions of fields of two bytes, at one of the levels of a model."""
    filler = rng.choice((b"\x08\x01", b"\x12\x00", b"\x78\x00", b"\x0a\x00")) * 3_000_000
    level = rng.randrange(4)
    if level == 0:
        return filler
    if level == 1:
        return field(7, filler)
    return field(7, field(1, filler) if level == 2 else field(5, filler))


def huge_lengths(rng):
    """Fields that say they are longer than the file, up to 2^63 bytes."""
    length = rng.choice((2**31, 2**32, LARGE, 2**62, 2**63, 2**64 - 1))
    inner = varint(rng.choice((7, 9, 1)) << 3 | 2) + varint(length) + b"abc"
    return rng.choice((inner, field(7, inner), field(7, field(5, inner)), b"\x08" + b"\xff" * 20))


def claimed_dims(rng):
    """A weight that claims to have up to 2^63 numbers and has two."""
    dims = rng.choice(([LARGE], [10**5, 10**5], [2**31, 2**31], [2**32, 2**32], [2**62, 4], [-1, -2], [0, 2**40],
                       [2] * 40, [1] * 100_000))  # fmt: skip
    claimed = TensorProto(name="w", data_type=TensorProto.FLOAT, raw_data=b"\0" * 8, dims=dims)
    return model([("Conv", "x w", "p", {}), *_POOLED], {"w": claimed})


def packed_dims(rng):
    """Ten million dimensions in one field."""
    claimed = TensorProto(name="w", data_type=TensorProto.FLOAT).SerializeToString() + field(1, b"\x01" * 10_000_000)
    return field(7, field(5, claimed) + field(1, field(1, b"x")))


def packed_integers(rng):
    """Twenty million whole numbers of one byte each, which take eight in memory."""
    kind = rng.choice((TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT16))
    number = 7 if kind == TensorProto.INT64 else 5
    count = 20_000_000
    held = TensorProto(name="w", data_type=kind, dims=[count]).SerializeToString() + field(number, bytes(count))
    return field(7, field(5, held) + field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu")))


def long_lists(rng):
    """Attributes of millions of numbers."""
    attributes = {"pads": [0] * 3_000_000} if rng.random() < 0.5 else {"nonsense": [0.5] * 3_000_000}
    return model([("Conv", "x w", "p", attributes), *_POOLED], {"w": floats(4, 3, 3, 3)})


def long_names(rng):
    """Names of megabytes, with line feeds, of whatever an error could name."""
    name = "n\n\t\x00" * 1_000_000
    place = rng.randrange(4)
    if place == 0:
        return model([(name, "x", "p", {}), *_POOLED])
    if place == 1:
        return model([("Relu", name, "p", {}), *_POOLED])
    if place == 2:
        return model([("Relu", "x", name, {})], outputs=(name,))
    return model([("Resize", "x", "p", {"mode": name}), *_POOLED])


def constant_of_shape(rng):
    """Constants of absurd sizes that take no bytes in the file, one or many."""
    sizes, times = rng.choice((((LARGE,), 1), ((2**31, 2**31), 1), ((2**22,), 500), ((2**20,), 5000), ((-1,), 1),
                               ((1000, 1000, 100), 1)))  # fmt: skip
    nodes = [("ConstantOfShape", "s", f"c{number}", {}) for number in range(times)]
    used = "x"
    for number in range(times):
        nodes.append(("Add", f"{used} c{number}", f"a{number}", {}))
        used = f"a{number}"
    return model([*nodes, ("Relu", used, "y", {})], {"s": whole(*sizes)})


def size_from_size(rng):
    """A constant as large as the picture's size to a high power, known only when the graph runs."""
    op = rng.choice(("ConstantOfShape", "Expand", "Tile", "Range"))
    nodes = [("Shape", "x", "s", {}), ("Mul", "s s", "t", {}), ("Mul", "t t", "u", {})]
    if op == "ConstantOfShape":
        nodes.append((op, "u", "c", {}))
    elif op == "Range":
        nodes += [("ReduceProd", "u", "v", {"keepdims": 0}), (op, "zero v one", "c", {})]
    else:
        nodes.append((op, "x u", "c", {}))
    return model([*nodes, ("ReduceMax", "c", "m", {}), ("Add", "x m", "p", {}), *_POOLED],
                 {"zero": np.int64(0), "one": np.int64(1)})  # fmt: skip


def expand(rng):
    """The picture, or a constant, repeated to an absurd size."""
    sizes = rng.choice((whole(LARGE, 3, 112, 112), whole(1, 3, 112, 112, LARGE), whole(64, 64, 64, 64, 64, 64),
                        whole(2**62, 2**62, 1, 1)))  # fmt: skip
    start = "x" if rng.random() < 0.5 else "one"
    op = rng.choice(("Expand", "Expand", "Tile"))
    return model([(op, f"{start} s", "e", {}), ("ReduceMax", "e", "m", {}), ("Add", "x m", "p", {}), *_POOLED],
                 {"s": sizes, "one": np.float32([[[[1]]]])})  # fmt: skip


def ranges(rng):
    """Range from 0 to an absurd number, in absurdly small steps, or without end."""
    kind = rng.choice((np.float32, np.int64))
    limit, step = rng.choice(((2**31 - 1, 1), (2**30, 0), (100, -1), (2**62, 1)))
    if kind is np.float32 and rng.random() < 0.5:
        limit, step = rng.choice(((1, 1e-30), (np.inf, 1), (np.nan, 1)))
    return model([("Range", "a b c", "r", {}), ("ReduceMax", "r", "m", {"keepdims": 0}), ("Cast", "m", "f", {"to": 1}),
                  ("Add", "x f", "p", {}), *_POOLED], {"a": kind(0), "b": kind(limit), "c": kind(step)})  # fmt: skip


def outer_sum(rng):
    """A column plus a row of 65,536 numbers each, both small constants."""
    op = rng.choice(("Add", "Mul", "Pow", "Equal", "Where", "Gather", "Max"))
    inputs = {"Where": "t a b", "Gather": "a i"}.get(op, "a b")
    side = rng.choice((2**16, 2**12))
    weights = {"a": np.ones((side, 1), np.int64), "b": np.ones((1, side), np.int64), "t": np.ones((1, 1), bool),
               "i": np.zeros((side, 4), np.int64)}  # fmt: skip
    if op == "Gather":
        weights["a"] = np.ones((1, side), np.int64)
    return model([(op, inputs, "c", {}), ("ReduceMax", "c", "m", {"keepdims": 0}), ("Cast", "m", "f", {"to": 1}),
                  ("Add", "x f", "p", {}), *_POOLED], weights)  # fmt: skip


def doubling(rng):
    """A tensor or a constant that is joined to itself, added to itself turned, or multiplied again and again."""
    op, start = rng.choice(("Concat", "Concat", "MatMul", "Resize", "Pad")), rng.choice(("x", "s"))
    nodes, value = [], start
    for number in range(rng.choice((12, 40, 200))):
        attributes = {"axis": 0 if start == "s" else 2} if op == "Concat" else {}
        inputs = {"Resize": f"{value}  z", "Pad": f"{value} pads"}.get(op, f"{value} {value}")
        nodes.append((op, inputs, f"d{number}", attributes))
        value = f"d{number}"
    nodes.append(("ReduceMax", value, "m", {"keepdims": 0}))
    return model(
        [*nodes, ("Cast", "m", "f", {"to": 1}), ("Add", "x f", "p", {}), *_POOLED],
        {"s": whole(1, 2, 3), "z": np.float32([1, 1, 2, 2]), "pads": whole(0, 0, 99, 99, 0, 0, 99, 99)},
    )


def cycle(rng):
    """Nodes that go round in circles; in a detector through what is taken off its ends."""
    op = rng.choice(("Relu", "Reshape", "Sigmoid", "Identity", "Transpose"))
    extra = " s" if op == "Reshape" else ""
    length = rng.choice((1, 2, 1000))
    nodes = [(op, f"c{number}{extra}", f"c{(number + 1) % length}", {}) for number in range(length)]
    outputs = tuple(f"c{number % length}" for number in range(9)) if rng.random() < 0.5 else ("c0",)
    return model(nodes, {"s": whole(1, -1)}, outputs=tuple(dict.fromkeys(outputs)))


def cyclic_detector(rng):
    """Nine outputs, each the end of a Reshape of itself."""
    nodes = [("Reshape", f"o{number} s", f"o{number}", {}) for number in range(9)]
    return model(nodes, {"s": whole(1, -1)}, (1, 3, 640, 640), tuple(f"o{number}" for number in range(9)))


def many_nodes(rng):
    """Tens of thousands of nodes."""
    op = rng.choice(("Relu", "Identity", "Constant", "Sigmoid", "Shape", "Conv"))
    count = rng.choice((MANY, MANY, 60_000))
    if op == "Constant":
        nodes = [(op, "", f"n{number}", {"value_int": 1}) for number in range(count)]
        return model([*nodes, ("Add", f"x n{count - 1}", "p", {}), *_POOLED])
    nodes = [(op, "x" if op == "Shape" or not number else f"n{number - 1}", f"n{number}", {}) for number in
             range(count)]  # fmt: skip
    if op == "Conv":
        nodes = [(op, f"{inputs} w", outputs, attributes) for op, inputs, outputs, attributes in nodes]
    last = "x" if op == "Shape" else f"n{count - 1}"
    return model([*nodes, ("Relu", last, "p", {}), *_POOLED], {"w": floats(3, 3, 1, 1)})


def shared_weight(rng):
    """One weight that thousands of layers use, each with a normalisation of its own or after a conversion."""
    op = rng.choice(("Conv", "Conv", "MatMul", "Gemm", "Mul", "Cast"))
    nodes, weights = [("Conv", "x first", "v0", {})], {"first": floats(256, 3, 1, 1), "w": floats(256, 256, 1, 1)}
    if op in ("MatMul", "Gemm"):
        nodes = [("GlobalAveragePool", "x", "g", {}), ("Flatten", "g", "f", {}), ("MatMul", "f first", "v0", {})]
        weights = {"first": floats(3, 512), "w": floats(512, 512)}
    elif op in ("Mul", "Cast"):
        nodes, weights = [("Relu", "x", "v0", {})], {"w": floats(3, 112, 112)}
    for number in range(4000):
        value, result = f"v{number}", f"v{number + 1}"
        if op == "Conv":
            nodes += [("Conv", f"{value} w", f"c{number}", {}),
                      ("BatchNormalization", f"c{number} s s s s", result, {})]  # fmt: skip
        elif op == "Cast":
            nodes += [("Cast", "w", f"k{number}", {"to": rng.choice((1, 11))}),
                      ("Mul", f"{value} k{number}", result, {})]  # fmt: skip
        else:
            nodes.append((op, f"{value} w", result, {}))
    return model([*nodes, ("Flatten", "v4000", "y", {})], {**weights, "s": np.ones(256, np.float32)})


def many_constants(rng):
    """Ten thousand additions, each of a small constant of its own."""
    count, size = 9000, rng.choice((1, 112))
    nodes, value = [], "x"
    for number in range(count):
        nodes.append(("Add", f"{value} c{number}", f"a{number}", {}))
        value = f"a{number}"
    weights = {f"c{number}": np.ones(size, np.float32) for number in range(count)}
    return model([*nodes, ("Relu", value, "p", {}), *_POOLED], weights)


def absurd_window(rng):
    """A convolution or pooling with absurd strides, dilations, groups, pads or kernel."""
    large = rng.choice((0, -1, 3, 1000, 10**6, 2**31 - 1, 2**31, 2**62, -(2**63)))
    key = rng.choice(("strides", "dilations", "pads", "group", "kernel_shape", "auto_pad", "ceil_mode"))
    value = {"pads": [large] * rng.choice((1, 4)), "group": large, "auto_pad": rng.choice(("SAME_UPPER", "WHAT")),
             "ceil_mode": large}.get(key, [large] * rng.choice((1, 2, 3)))  # fmt: skip
    op = rng.choice(("Conv", "Conv", "MaxPool", "AveragePool", "ConvTranspose"))
    attributes = {key: value} if op.startswith("Conv") else {"kernel_shape": [3, 3], key: value}
    if rng.random() < 0.3:
        attributes["pads"] = [rng.choice((50_000, 2**31, 2**61))] * 4
    inputs = "x w" if op.startswith("Conv") else "x"
    return model([(op, inputs, "p", attributes), *_POOLED], {"w": floats(3, 3, 3, 3)})


def absurd_shape(rng):
    """Reshape, Resize, Upsample, Pad, Slice, Split, Transpose, Unsqueeze or Gather by absurd numbers."""
    large = rng.choice((0, -1, -2, 5, 10**5, 10**9, 2**31, 2**62, -(2**63)))
    op = rng.choice(("Reshape", "Resize", "Upsample", "Pad", "Slice", "Split", "Transpose", "Unsqueeze", "Gather",
                     "Squeeze", "Flatten", "Softmax", "ReduceMean", "Concat", "Cast"))  # fmt: skip
    sizes = whole(*[rng.choice((1, 3, 112, large)) for _ in range(rng.choice((1, 2, 4, 4, 8, 70)))])
    scale = rng.choice((0.0, -1.0, 1e9, 1e30, 1e-30, np.nan, np.inf))
    scales = np.float32([1, 1, scale, scale])
    cases = {
        "Resize": rng.choice(((op, "x   s", "p", {"mode": rng.choice(("nearest", "linear", "cubic"))}),
                              (op, "x r c", "p", {"mode": rng.choice(("nearest", "linear"))}))),
        "Upsample": (op, "x c", "p", {"mode": "nearest"}),
        "Slice": (op, "x s s s s" if rng.random() < 0.5 else "x s s", "p", {}),
        "Split": (op, "x s", "p p2", {"axis": 1}),
        "Transpose": (op, "x", "p", {"perm": sizes.tolist()}),
        "Gather": (op, "x s", "p", {"axis": rng.choice((0, 1, large))}),
        "Flatten": (op, "x", "p", {"axis": large}),
        "Softmax": (op, "x", "p", {"axis": large}),
        "ReduceMean": (op, "x", "p", {"axes": [large]}),
        "Concat": (op, "x x", "p", {"axis": large}),
        "Cast": (op, "x", "p", {"to": large % 2**31}),
    }  # fmt: skip
    node = cases.get(op, (op, "x s", "p", {}))
    opset = 9 if op == "Upsample" else 13
    weights = {"s": sizes, "c": scales, "r": np.zeros(0, np.float32)}
    return model([node, *_POOLED], weights, opset=opset)


def heavy_work(rng):
    """Convolutions or products that fit into memory and take minutes."""
    way = rng.randrange(3)
    if way == 0:
        nodes = [("Conv", "x f", "c0", {})]
        nodes += [("Conv", f"c{number} w", f"c{number + 1}", {"pads": [3] * 4}) for number in range(500)]
        return model([*nodes, ("Relu", "c500", "p", {}), *_POOLED], {"f": floats(64, 3, 1, 1),
                     "w": floats(64, 64, 7, 7)}, (1, 3, 640, 640))  # fmt: skip
    if way == 1:
        nodes = [("Relu", "x", "m0", {})]
        nodes += [("MatMul", f"m{number} m{number}", f"m{number + 1}", {}) for number in range(500)]
        return model([*nodes, ("Relu", "m500", "p", {}), *_POOLED], shape=(1, 3, 1024, 1024))
    pool = {"kernel_shape": [1001, 1001], "pads": [500] * 4}
    return model([("MaxPool", "x", "a", pool), ("MaxPool", "a", "p", pool), *_POOLED], shape=(1, 3, 1120, 1120))


def large_picture(rng):
    """An input of absurd sizes, to an operation that is known here or to another."""
    shape = rng.choice(((1, 3, 10**5, 10**5), (1, 3, 2**31, 2**31), (1, 10**9, 112, 112), (10**9, 3, 112, 112),
                        (1, 3, 16384, 16384), (0, 3, 112, 112), (1, 0, 112, 112), (1, 3), (1, 3, 112), (),
                        (1, 3, 8, 112, 112)))  # fmt: skip
    op = rng.choice(("Relu", "Relu", "LpPool", "Hardmax"))
    attributes = {"kernel_shape": [1, 1]} if op == "LpPool" else {}
    return model([(op, "x", "p", attributes), *_POOLED], shape=shape)


def picture_as_index(rng):
    """Places and divisors that come from the picture: outside of what is there, and zero."""
    way = rng.randrange(3)
    if way == 0:
        nodes = [("Mul", "x big", "b", {}), ("Cast", "b", "at", {"to": 7}), ("Gather", "x at", "g", {"axis": 0}),
                 ("ReduceMax", "g", "m", {"keepdims": 0}), ("Add", "x m", "p", {})]  # fmt: skip
    elif way == 1:
        nodes = [("Cast", "x", "n", {"to": 6}), ("Sub", "n n", "z", {}), ("Div", "n z", "d", {}),
                 ("Cast", "d", "p", {"to": 1})]  # fmt: skip
    else:
        nodes = [("Gather", "x i", "p", {"axis": 2})]
    return model([*nodes, *_POOLED], {"big": np.float32(1e9), "i": whole(0, 10**6)})


def subgraphs(rng):
    """A loop of 2^62 rounds, or one inside of another."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Concat", ["v", "v"], ["w"], axis=0)], "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []),
         helper.make_tensor_value_info("v", 1, None)],
        [helper.make_tensor_value_info("d", 9, []), helper.make_tensor_value_info("w", 1, None)],
    )  # fmt: skip
    rounds = rng.choice((40, 2**62))
    return model([("Loop", "n t x", "l", {"body": body}), ("ReduceMax", "l", "m", {"keepdims": 0}),
                  ("Add", "x m", "p", {}), *_POOLED], {"n": np.int64(rounds), "t": np.bool_(True)})  # fmt: skip


def many_ends(rng):
    """A node with a hundred thousand inputs or outputs, or that many inputs and outputs of the graph."""
    count = 100_000
    way = rng.randrange(4)
    if way == 0:
        return model([("Sum", " ".join(["x"] * count), "p", {}), *_POOLED])
    if way == 1:
        return model([("Split", "x", " ".join(f"p{number}" for number in range(count)), {"axis": 3}),
                      ("Relu", "p0", "p", {}), *_POOLED])  # fmt: skip
    if way == 2:
        return model([("Relu", "x", "y", {})], outputs=tuple(f"y{number}" for number in range(count)))
    return model([("Concat", " ".join(["x"] * 2000), "p", {"axis": 1}), *_POOLED])


def graph_attribute(rng):
    """Attributes of types that nothing here reads: graphs, types, sparse tensors, lists of strings."""
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    chosen = nodes[0].attribute.add()
    chosen.name = "a"
    chosen.type = rng.choice(list(AttributeProto.AttributeType.values()))
    chosen.strings.extend([b"s" * 1000] * 1000)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, (1, 3, 112, 112))],
                              [helper.make_tensor_value_info("y", 1, None)])  # fmt: skip
    return helper.make_model(graph, ir_version=8).SerializeToString()


BOMBS = {
    function.__name__.replace("_", " "): function
    for function in (
        deep_messages, tiny_fields, huge_lengths, claimed_dims, packed_dims, packed_integers, long_lists, long_names,
        constant_of_shape, size_from_size, expand, ranges, outer_sum, doubling, cycle, cyclic_detector, many_nodes,
        shared_weight, many_constants, absurd_window, absurd_shape, heavy_work, large_picture, picture_as_index,
        subgraphs, many_ends, graph_attribute,
    )
}  # fmt: skip
