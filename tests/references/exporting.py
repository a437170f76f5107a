"""Writing torch modules as the ONNX files that were published: by the exporter of 2021, and as MXNet's exporter did."""

import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

_SHAPES = {"Shape", "Gather", "Unsqueeze", "Slice", "Concat", "Cast"}  # integers, in these files


def export(
    module: nn.Module,
    example: torch.Tensor,
    path,
    *,
    outputs: list[str] | None = None,
    dims: dict[str, dict[int, str]] | None = None,
    fixed: bool = False,
    opset: int = 11,
    folded: bool = True,
):
    """Write `module` with its input `input.1` to `path` by torch's TorchScript exporter, then simplify the graph.

    outputs: new names of the outputs. dims: per tensor, axes that get a name instead of a number. fixed: even so, the
    graph itself is traced for the example's size. folded: each BatchNorm right after a Conv becomes part of it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecation, and the folding of constants that it skips
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["input.1"],
            dynamic_axes=None if fixed else {"input.1": (dims or {}).get("input.1", {})},
            training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=True,
        )
    model = onnx.load(path)
    simplify(model)
    if outputs:
        rename(model, dict(zip([value.name for value in model.graph.output], outputs, strict=True)))
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in (dims or {}).get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, path)


def simplify(model: onnx.ModelProto):
    """Constants become initialisers, Identity and needless Cast go, a Concat of a Concat becomes one.

    The names of 2021: nodes are called by their kind and number, what has no name in the module by a number.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    same, gone = {}, []
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            gone.append(node)
        elif node.op_type == "Identity" or (
            node.op_type == "Cast"
            and node.attribute[0].i == onnx.TensorProto.INT64
            and makers[node.input[0]].op_type in _SHAPES
        ):
            same[node.output[0]] = node.input[0]
            gone.append(node)
    for node in graph.node:
        for place, name in enumerate(node.input):
            while name in same:
                name = same[name]
            node.input[place] = name
    for node in gone:
        graph.node.remove(node)
    for node in [node for node in graph.node if node.op_type == "Concat"]:
        parts = []
        for name in node.input:
            inner = makers.get(name)
            nested = inner is not None and inner.op_type == "Concat"
            nested = nested and sum(name in other.input for other in graph.node) == 1
            parts += inner.input if nested else [name]
            if nested:
                graph.node.remove(inner)
        node.input[:] = parts
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    names = {name: name.split("_")[-1] for name in used if name.startswith("onnx::")}
    kept = {value.name for value in graph.output}
    between = [name for node in graph.node for name in node.output if name not in kept]
    rename(model, names | {name: str(number) for number, name in enumerate(between, 101)})


def rename(model: onnx.ModelProto, names: dict[str, str]):
    """Rename tensors: inputs, outputs, initialisers and all between. What bore a new name before gets another."""
    graph = model.graph
    there = {name for node in graph.node for name in (*node.input, *node.output)} - set(names)
    names = names | {name: f"{name}_before" for name in set(names.values()) & there}
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)


def export_like_mxnet(module: nn.Module, example: torch.Tensor, path):
    """Write `module`, whose layers bear MXNet's names, as MXNet exported to ONNX in 2019 to 2021.

    No BatchNorm is folded; a tensor bears the name of the node that makes it; weights are `<layer>_weight`, `_gamma`,
    `_moving_mean` and so on; the input is `data` and the only output `fc1`. The module gives the names of what is no
    layer, in order, in `unnamed`: {"Sub": [...], "Add": [...]}, and may say that `weights_are_inputs` of the graph too.
    """
    layers = dict(module.named_modules())
    export(module, example, path, dims={"input.1": {0: "None"}}, opset=9, folded=False)
    model = onnx.load(path)
    graph = model.graph
    initialisers = {tensor.name: tensor for tensor in graph.initializer}
    unnamed = {kind: list(names) for kind, names in module.unnamed.items()}
    queue = [name for name, layer in layers.items() if isinstance(layer, _LAYERS)]
    names, scalars = {"input.1": "data"}, 0
    for node in graph.node:
        if node.op_type in module.unnamed:
            layer = unnamed[node.op_type].pop(0)
            parts = []
        else:
            layer = queue.pop(0)
            assert isinstance(layers[layer], _KINDS[node.op_type]), (node.op_type, layer)
            parts = _PARTS.get(node.op_type, [])
        node.name = layer
        names[node.output[0]] = layer
        for name, part in zip(node.input[1:], parts, strict=False):
            names[name] = f"{layer}_{part}"
        for name in node.input:
            if not parts and name in initialisers:
                scalars += 1
                names[name] = f"scalar_op{scalars}"
                value = numpy_helper.to_array(initialisers[name]).reshape(1).astype(np.float32)
                initialisers[name].CopyFrom(numpy_helper.from_array(value, name))
    assert not queue and not any(unnamed.values()), (queue, unnamed)
    rename(model, names)
    if hasattr(module, "dropout"):
        before, name = module.dropout
        place = next(number for number, node in enumerate(graph.node) if node.name == before) + 1
        for node in graph.node:
            node.input[:] = [name if tensor == before else tensor for tensor in node.input]
        graph.node.insert(place, onnx.helper.make_node("Dropout", [before], [name], name, ratio=0.4))
    assert [value.name for value in graph.output] == ["fc1"]
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = "None"
    for tensor in graph.initializer if getattr(module, "weights_are_inputs", False) else ():
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del graph.value_info[:]
    model.ir_version = 4
    model.producer_name, model.producer_version = "", ""
    onnx.save(model, path)


_KINDS = {
    "Conv": nn.Conv2d,
    "BatchNormalization": (nn.BatchNorm1d, nn.BatchNorm2d),
    "PRelu": nn.PReLU,
    "Relu": nn.ReLU,
    "Gemm": nn.Linear,
    "MaxPool": nn.MaxPool2d,
    "GlobalAveragePool": nn.AdaptiveAvgPool2d,
    "Flatten": nn.Flatten,
}
_LAYERS = tuple(kind for kinds in _KINDS.values() for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
_PARTS = {
    "Conv": ["weight", "bias"],
    "Gemm": ["weight", "bias"],
    "PRelu": ["gamma"],
    "BatchNormalization": ["gamma", "beta", "moving_mean", "moving_var"],
}
