"""The operations of a graph that have weights, as layers that ComfyUI can manage."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layer_types import Device, Dtype, Operations
from .plan import Layer
from .windows import padded_evenly, window


class Scale(nn.Module):
    """x * weight + bias per channel: a batch normalisation with fixed statistics."""

    def __init__(self, layer: Layer, device: Device, dtype: Dtype):
        super().__init__()
        if layer.bias is None or layer.weight.shape != layer.bias.shape:
            raise ValueError("a normalisation whose parts have different lengths")
        self.weight, self.bias = (parameter(value, device, dtype) for value in (layer.weight, layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[1], *[1] * (x.ndim - 2))
        weight, bias = (value.to(x.device, x.dtype).view(shape) for value in (self.weight, self.bias))
        return torch.addcmul(bias, x, weight)


class PReLU(nn.Module):
    """One slope for all channels or for each."""

    def __init__(self, layer: Layer, device: Device, dtype: Dtype):
        super().__init__()
        self.weight = parameter(layer.weight, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x.device, x.dtype))


class Conv(nn.Module):
    """A convolution with ONNX's ways to pad."""

    def __init__(self, layer: Layer, device: Device, dtype: Dtype, operations: Operations):
        super().__init__()
        out, into, *kernel = layer.weight.shape
        self.attributes, self.kernel = layer.attributes, tuple(kernel)
        if tuple(self.attributes.get("kernel_shape") or kernel) != self.kernel:
            raise ValueError("a convolution whose weights have another size than it says")
        stride, dilation = window(self.attributes, self.kernel)
        groups = self.attributes.get("group", 1)
        # on the meta device, where nothing is made or filled with random numbers before the weights come
        self.convolution = operations.Conv2d(
            into * groups, out, kernel, stride=stride, dilation=dilation, groups=groups, bias=layer.bias is not None,
            device="meta", dtype=dtype,
        )  # fmt: skip
        _fill(self.convolution, layer, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        x, padding = padded_evenly(x, self.attributes, self.kernel)
        self.convolution.padding = padding
        return self.convolution(x)


def built(layer: Layer, device: Device = None, dtype: Dtype = None, operations: Operations = nn) -> nn.Module:
    """The module of a layer; ValueError when its weights don't fit together."""
    if layer.kind == "conv":
        return Conv(layer, device, dtype, operations)
    if layer.kind == "linear":
        out, into = layer.weight.shape
        linear = operations.Linear(into, out, bias=layer.bias is not None, device="meta", dtype=dtype)
        _fill(linear, layer, device, dtype)
        return linear
    return Scale(layer, device, dtype) if layer.kind == "scale" else PReLU(layer, device, dtype)


def parameter(value: np.ndarray, device: Device, dtype: Dtype) -> nn.Parameter:
    """Numbers as a parameter of their own, floating-point ones in `dtype`; nothing is copied to the meta device.

    ValueError for a weight that is infinite or no number, which only damage makes.
    """
    is_float = value.dtype.kind == "f"
    kind = np.float32 if is_float else value.dtype
    if device == "meta":
        dtype = torch.from_numpy(np.zeros(0, kind)).dtype if not is_float or dtype is None else dtype
        return nn.Parameter(torch.empty(value.shape, device=device, dtype=dtype), requires_grad=False)
    copy = np.array(value, dtype=kind, order="C")
    if is_float and not np.isfinite(copy).all():
        raise ValueError("a weight that is no number")
    return nn.Parameter(torch.from_numpy(copy).to(device, dtype if is_float else None), requires_grad=False)


def _fill(layer: nn.Module, source: Layer, device, dtype):
    layer.weight = parameter(source.weight, device, dtype)
    if layer.weight.ndim == 4 and layer.weight.dtype in (torch.float16, torch.bfloat16):
        # half-precision convolutions are faster with the channels last, on GPUs and processors alike
        layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
    if source.bias is not None:
        if source.bias.shape != source.weight.shape[:1]:
            raise ValueError("a bias of another length")
        layer.bias = parameter(source.bias, device, dtype)
