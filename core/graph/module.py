"""A planned graph as a torch module: weights in layers that ComfyUI can manage, steps run one after another."""

from collections.abc import Iterable
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from ..layer_types import Device, Dtype, Operations
from ..weights import WeightsError
from ..weights.onnx_file import OnnxModel
from .bounds import Forward
from .layers import built, parameter
from .operators import ANY_TYPE, TENSOR, Unsupported, in_place
from .plan import Plan, Step, UnknownGraph, fitting_graph, host_positions, plan
from .shapes import HOST, LIMIT, computed

_LARGEST = 2**26  # numbers of one picture
_STANDARD_SIZE = 640  # pixels that a size left free is checked with
_MANY = 8  # pictures from which on convolutions on processors are faster with the channels last


class GraphModule(nn.Module):
    """A graph of one input: [B, C, H, W] -> its outputs, a tensor or a tuple of them.

    Values that are sizes never leave the host, values that are pixels never leave the device. `dtype` is what the
    weights are kept in; input of the same dtype is computed in it.
    """

    def __init__(self, planned: Plan, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
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
        self._steps: list[tuple[Step, tuple[str, ...]]] = []
        kept, last = set(self.outputs), {value: number for number, step in enumerate(planned.steps)
                                         for value in step.inputs}  # fmt: skip
        for number, step in enumerate(planned.steps):
            if step.layer is not None:
                self.layers[str(number)] = built(step.layer, device, dtype, operations)
            gone = tuple(value for value in set(step.inputs) if last[value] == number and value not in kept)
            self._steps.append((step, gone))
        wanted = set().union(*map(_wanted_as_tensors, planned.steps))
        # copies, free of the file
        self._constants = {key: np.array(value) for key, value in planned.constants.items() if value.size <= LIMIT}
        self._weight_of: dict[str, str] = {}
        for place, (key, value) in enumerate(planned.constants.items()):
            if key in wanted and value.size > 1:
                self.weights[str(place)] = parameter(value, device, dtype)
                self._weight_of[key] = str(place)
        depthwise = sum(step.attributes.get("group", 1) > 1 for step in planned.steps if step.op == "Conv")
        self._channels_last = depthwise > 0

    def forward(self, x: Tensor, counted: Forward | None = None) -> Tensor | tuple[Tensor, ...]:
        """With `counted`, TooMuch as soon as that finds the graph to ask for more than it may."""
        if len(x) > 1 and not self.takes_batches:
            parts = [self._through(picture, counted) for picture in x.split(1)]
            found = tuple(torch.cat(values) for values in zip(*parts, strict=True))
        else:
            found = self._through(x, counted)
        return found[0] if len(found) == 1 else found

    def _through(self, x, counted) -> tuple[Tensor, ...]:
        values: dict[str, Tensor | np.ndarray] = {self.input: self._laid_out(x)}
        if counted is not None:
            counted.made(x)
        for number, (step, gone) in enumerate(self._steps):
            inputs = [values.get(name) for name in step.inputs]
            if step.layer is not None:
                if not isinstance(inputs[0], Tensor) or not inputs[0].is_floating_point():
                    raise Unsupported(f"{step.op} of whole numbers")
                result = self.layers[str(number)](inputs[0])
            else:
                result = self._run(step, inputs, len(x))
            results = result if isinstance(result, tuple | list) else (result,)
            if counted is not None:
                _count(counted, step, inputs, results, (values[name] for name in gone if name in values))
            values.update(zip(step.outputs, results, strict=False))
            for value in gone:
                values.pop(value, None)
        results = [values[output] for output in self.outputs]
        found = tuple(result for result in results if isinstance(result, Tensor))
        if len(found) < len(self.outputs):
            raise Unsupported("a result that does not depend on the picture")
        return found

    def _laid_out(self, x: Tensor) -> Tensor:
        """The picture in the memory format that the convolutions are fastest in."""
        half = self.dtype != torch.float32
        if x.ndim != 4 or not half and (x.device.type != "cpu" or not self._channels_last and len(x) < _MANY):
            return x
        return x.contiguous(memory_format=torch.channels_last)

    def _run(self, step: Step, inputs: list, batch: int):
        on_device = [value for value in inputs if isinstance(value, Tensor)]
        if step.spare and (result := _written_over(step, inputs)) is not None:
            return result
        if step.op not in ANY_TYPE and not all(value.is_floating_point() for value in on_device):
            raise Unsupported(f"{step.op} of whole numbers that depend on the picture")
        for place, name in enumerate(step.inputs):
            if inputs[place] is None and name:
                inputs[place] = self._constant(name, on_device and place not in host_positions(step.op))
        if not on_device and step.op in HOST:
            return computed(step.op, step.attributes, inputs)
        if step.op == "Reshape" and self.input_shape[:1] == (1,):
            inputs[1] = _for_batch(inputs[0], inputs[1], batch)
        return TENSOR[step.op](step.attributes, *inputs)

    def _constant(self, name, on_device):
        if on_device and name in self._weight_of:
            return self.weights[self._weight_of[name]]
        return self._constants[name]


def _wanted_as_tensors(step: Step) -> set[str]:
    if step.layer is not None:
        return set()
    return {name for place, name in enumerate(step.inputs) if place not in host_positions(step.op)}


def _written_over(step: Step, inputs: list) -> Tensor | None:
    """The result of a step in the memory of an input that nobody else needs, if it has the result's shape."""
    target = inputs[step.spare[0]]
    others = [value for place, value in enumerate(inputs) if place != step.spare[0]]
    fits = all(isinstance(value, Tensor) and (value.shape, value.dtype) == (target.shape, target.dtype)
               for value in others)  # fmt: skip
    return in_place(step.op, target, *others) if fits and target.is_floating_point() else None


def _count(counted: Forward, step: Step, inputs, results, gone: Iterable):
    counted.worked(step, inputs, results)
    for value in results:
        counted.made(value)
    for value in gone:
        counted.dropped(value)


def _for_batch(x, shape, batch):
    """The target of a Reshape in a graph that was exported for one picture, for several of them."""
    if batch > 1 and isinstance(shape, np.ndarray) and len(x) == batch and shape.size > 1 and shape.flat[0] == 1:
        shape = shape.copy()
        shape.flat[0] = batch
    return shape


def build(
    model: OnnxModel, outputs: tuple[str, ...] | None = None, size: int | tuple[int, int] | None = None,
    device: Device = None, dtype: Dtype = None, operations: Operations = nn,
) -> GraphModule:  # fmt: skip
    """A graph as a module in eval mode without gradients, checked before any weight is copied.

    `outputs` are values of the graph, its own outputs by default. `size` is the side, or (height, width), of the
    picture that a graph with free sizes is checked with. The check runs all steps on torch's meta device, which knows
    shapes and has no memory.
    Raises UnknownGraph for what is not known here, WeightsError for what doesn't fit together.
    """
    planned = plan(model, outputs)
    shape = _checked_shape(planned, size or _STANDARD_SIZE)
    with fitting_graph(planned.name):
        trial = GraphModule(planned, "meta")
        shapes = _shapes(trial, shape)
        module = GraphModule(planned, device, dtype, operations)
    module.checked_shape, module.output_shapes = shape, shapes
    module.takes_batches = _takes_batches(trial, shape, shapes)
    return module.eval().requires_grad_(False)


def _checked_shape(planned: Plan, size) -> tuple[int, ...]:
    """The shape of an input of one picture."""
    asked = planned.input_shape
    if len(asked) not in (0, 4):
        raise UnknownGraph(
            f"{planned.name} takes an input of {len(asked)} dimensions, and a picture has four; choose another file."
        )
    free = (3, *(size if isinstance(size, tuple) else (size, size)))
    shape = (1, *(known or wanted for known, wanted in zip(asked[1:] or free, free, strict=True)))
    if prod(shape) > _LARGEST:
        pixels = f"{shape[-1]:,} x {shape[-2]:,}"
        raise WeightsError(f"{planned.name} takes pictures of {pixels} pixels, as no face model does; fetch it again.")
    return shape


def _shapes(trial: GraphModule, shape) -> tuple[tuple[int, ...], ...]:
    """The outputs' shapes for an input's shape; any error tells that there are none."""
    found = trial(torch.zeros(shape, device="meta"), Forward())
    found = found if isinstance(found, tuple) else (found,)
    return tuple(tuple(value.shape) for value in found)


def _takes_batches(trial: GraphModule, shape, shapes) -> bool:
    """Whether two pictures at once come out as two rows everywhere; exports for one picture may have fixed that."""
    try:
        with fitting_graph(trial.name):
            return _shapes(trial, (2, *shape[1:])) == tuple((2, *out[1:]) for out in shapes)
    except WeightsError:
        return False
