"""A planned graph as a torch module: weights in layers that ComfyUI can manage, steps run one after another."""

from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..weights import WeightsError
from ..weights.onnx_file import OnnxModel
from .operators import TENSOR, Unsupported, padded_evenly, spatial
from .plan import Layer, Plan, Step, UnknownGraph, host_positions, plan
from .shapes import HOST

_LARGEST = 2**28  # numbers in one tensor of a forward with a single picture; a face model's largest has a few million
_STANDARD_SIZE = 640  # pixels that a size left free is checked with


class _Scale(nn.Module):
    """x * weight + bias per channel: a batch normalisation with fixed statistics."""

    def __init__(self, layer: Layer, device, dtype):
        super().__init__()
        self.weight, self.bias = (_parameter(value, device, dtype) for value in (layer.weight, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, *[1] * (x.ndim - 2))
        weight, bias = (value.to(x.device, x.dtype).view(shape) for value in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


class _PReLU(nn.Module):
    def __init__(self, layer: Layer, device, dtype):
        super().__init__()
        self.weight = _parameter(layer.weight, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x.device, x.dtype))


class _Conv(nn.Module):
    """A convolution with ONNX's ways to pad."""

    def __init__(self, layer: Layer, device, dtype, operations):
        super().__init__()
        out, into, *kernel = layer.weight.shape
        groups = layer.attributes.get("group", 1)
        self.attributes, self.kernel = layer.attributes, tuple(kernel)
        self.convolution = operations.Conv2d(
            into * groups, out, kernel, stride=tuple(layer.attributes.get("strides") or (1, 1)),
            dilation=tuple(layer.attributes.get("dilations") or (1, 1)), groups=groups, bias=layer.bias is not None,
            device=device, dtype=dtype,
        )  # fmt: skip
        _fill(self.convolution, layer)

    def forward(self, x: Tensor) -> Tensor:
        x, padding = padded_evenly(x, spatial(self.attributes, x, self.kernel)[2])
        self.convolution.padding = padding
        return self.convolution(x)


def _parameter(value: np.ndarray, device, dtype):
    tensor = torch.from_numpy(np.array(value, dtype=np.float32 if value.dtype.kind == "f" else value.dtype))
    return nn.Parameter(tensor.to(device, dtype if value.dtype.kind == "f" else None), requires_grad=False)


@torch.no_grad()
def _fill(layer: nn.Module, source: Layer):
    if layer.weight.device.type == "meta":
        return
    for parameter, value in ((layer.weight, source.weight), (layer.bias, source.bias)):
        if parameter is not None:
            parameter.copy_(torch.from_numpy(np.array(value, dtype=np.float32)))
    if layer.weight.ndim == 4 and layer.weight.dtype != torch.float32:
        # half-precision convolutions are faster with the channels last, on GPUs and processors alike
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


class GraphModule(nn.Module):
    """A graph of one input: [B, C, H, W] -> its outputs, a tensor or a tuple of them.

    Values that are sizes never leave the host, values that are pixels never leave the device. `dtype` is what the
    weights are kept in; input of the same dtype is computed in it.
    """

    def __init__(self, planned: Plan, device=None, dtype=None, operations=nn):
        super().__init__()
        self.name = planned.name
        self.input, self.outputs = planned.input, planned.outputs
        self.input_shape = planned.input_shape
        self.dtype = dtype or torch.float32
        self.takes_batches = True
        self.checked_shape: tuple[int, ...] = ()  # of the input that `build` checked the graph with
        self.output_shapes: tuple[tuple[int, ...], ...] = ()  # what came out for it
        self.layers = nn.ModuleDict()
        self.weights = nn.ParameterDict()
        self._constants: dict[str, np.ndarray] = {}
        self._steps: list[tuple[Step, tuple[str, ...]]] = []
        last = {value: number for number, step in enumerate(planned.steps) for value in step.inputs}
        for number, step in enumerate(planned.steps):
            if step.layer is not None:
                self.layers[str(number)] = _built(step.layer, device, dtype, operations)
            gone = tuple(value for value in set(step.inputs) if last[value] == number and value not in self.outputs)
            self._steps.append((step, gone))
        for place, (key, value) in enumerate(planned.constants.items()):
            self._constants[key] = np.array(value)  # a copy, free of the file
            if value.size > 1 and any(_wants_tensor(step, key) for step in planned.steps):
                self.weights[str(place)] = _parameter(value, device, dtype)
        self._weight_of = {key: str(place) for place, key in enumerate(planned.constants) if str(place) in self.weights}

    def forward(self, x: Tensor, largest: int | None = None) -> Tensor | tuple[Tensor, ...]:
        """With `largest`, a tensor of more numbers than that is a WeightsError."""
        if len(x) > 1 and not self.takes_batches:
            parts = [self._through(picture, largest) for picture in x.split(1)]
            found = tuple(torch.cat(values) for values in zip(*parts, strict=True))
        else:
            found = self._through(x, largest)
        return found[0] if len(found) == 1 else found

    def _through(self, x, largest) -> tuple[Tensor, ...]:
        values: dict[str, Tensor | np.ndarray] = {self.input: x}
        for number, (step, gone) in enumerate(self._steps):
            if step.layer is not None:
                result = self.layers[str(number)](values[step.inputs[0]])
            else:
                result = self._run(step, values, len(x))
            results = result if isinstance(result, tuple | list) else (result,)
            if largest and any(isinstance(value, Tensor) and value.numel() > largest for value in results):
                raise WeightsError(f"{self.name} asks for more memory than any face model; fetch it again.")
            values.update(zip(step.outputs, results, strict=False))
            for value in gone:
                values.pop(value, None)
        return tuple(values[output] for output in self.outputs)

    def _run(self, step: Step, values, batch: int):
        inputs = [values.get(name) for name in step.inputs]
        on_device = any(isinstance(value, Tensor) for value in inputs)
        for place, name in enumerate(step.inputs):
            if inputs[place] is None and name:
                inputs[place] = self._constant(name, on_device and place not in host_positions(step.op))
        if not on_device and step.op in HOST:
            return np.asarray(HOST[step.op](step.attributes, *inputs))
        if step.op == "Reshape" and self.input_shape[:1] == (1,):
            inputs[1] = _for_batch(inputs[0], inputs[1], batch)
        return TENSOR[step.op](step.attributes, *inputs)

    def _constant(self, name, on_device):
        if on_device and name in self._weight_of:
            return self.weights[self._weight_of[name]]
        return self._constants[name]


def _wants_tensor(step: Step, key: str) -> bool:
    return step.layer is None and any(
        name == key and place not in host_positions(step.op) for place, name in enumerate(step.inputs)
    )


def _for_batch(x, shape, batch):
    """The target of a Reshape in a graph that was exported for one picture, for several of them."""
    if batch > 1 and isinstance(shape, np.ndarray) and len(x) == batch and shape.size > 1 and shape.flat[0] == 1:
        shape = shape.copy()
        shape.flat[0] = batch
    return shape


def _built(layer: Layer, device, dtype, operations):
    if layer.kind == "conv":
        return _Conv(layer, device, dtype, operations)
    if layer.kind == "linear":
        out, into = layer.weight.shape
        linear = operations.Linear(into, out, bias=layer.bias is not None, device=device, dtype=dtype)
        _fill(linear, layer)
        return linear
    return _Scale(layer, device, dtype) if layer.kind == "scale" else _PReLU(layer, device, dtype)


def build(
    model: OnnxModel, outputs: tuple[str, ...] | None = None, size: int | tuple[int, int] | None = None, device=None,
    dtype=None,
    operations=nn,
) -> GraphModule:  # fmt: skip
    """A graph as a module in eval mode without gradients, checked before any weight is copied.

    `outputs` are values of the graph, its own outputs by default. `size` is the side, or (height, width), of the
    picture that a graph with free sizes is checked with. The check runs all steps on torch's meta device, which knows
    shapes and has no memory.
    Raises UnknownGraph for what is not known here, WeightsError for what doesn't fit together.
    """
    planned = plan(model, outputs)
    shape = _checked_shape(planned, size or _STANDARD_SIZE)
    shapes = _shapes(planned, shape)
    module = GraphModule(planned, device, dtype, operations)
    module.checked_shape, module.output_shapes = shape, shapes
    module.takes_batches = _takes_batches(planned, shape, shapes)
    return module.eval().requires_grad_(False)


def _checked_shape(planned: Plan, size) -> tuple[int, ...]:
    """The shape of an input of one picture."""
    shape = planned.input_shape
    if len(shape) not in (0, 4):
        raise UnknownGraph(f"{planned.name} takes an input of shape {list(shape)}; a face model takes a picture.")
    free = (3, *(size if isinstance(size, tuple) else (size, size)))
    shape = (1, *(known or wanted for known, wanted in zip(shape[1:] or free, free, strict=True)))
    if prod(shape) > _LARGEST:
        raise WeightsError(f"{planned.name} asks for a picture of {shape[-2]} x {shape[-1]}; fetch it again.")
    return shape


def _shapes(planned: Plan, shape) -> tuple[tuple[int, ...], ...]:
    """The outputs' shapes for an input's shape, or the error that tells why there are none."""
    try:
        found = GraphModule(planned, device="meta")(torch.zeros(shape, device="meta"), _LARGEST)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(tuple(value.shape) for value in found)
    except WeightsError:
        raise
    except Unsupported as error:
        raise UnknownGraph(f"{planned.name} uses an operation in a way that is not known here: {error}.") from error
    # Which of its many errors torch ends in where shapes don't fit is its own business.
    except Exception as error:
        raise WeightsError(f"{planned.name} is damaged: its tensors don't fit together; fetch it again.") from error


def _takes_batches(planned: Plan, shape, shapes) -> bool:
    """Whether two pictures at once come out as two rows everywhere; exports for one picture may have fixed that."""
    try:
        return _shapes(planned, (2, *shape[1:])) == tuple((2, *out[1:]) for out in shapes)
    except WeightsError:
        return False
