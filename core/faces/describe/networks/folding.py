"""Batch normalisation with stored statistics, folded into the layers around it when a state dict is read.

A normalised channel is x * scale + shift. After a layer without bias that is the layer with other weights and a bias,
exactly up to rounding; everything is multiplied out in float64.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_COUNTER = ".num_batches_tracked"


class Folder:
    """Takes a network's tensors out of a state dict and puts folded ones into `folded`, all float32.

    KeyError and RuntimeError, for `fitting`, where tensors are missing or of odd shapes. `left` holds what nobody took,
    counters of training apart.
    """

    def __init__(self, tensors: Mapping[str, Tensor], epsilon: float):
        self.left = {key: tensor for key, tensor in tensors.items() if not key.endswith(_COUNTER)}
        self.epsilon = epsilon
        self.folded: dict[str, Tensor] = {}

    def take(self, key: str) -> Tensor:
        """A tensor of the state dict in float64, which is then no longer left."""
        tensor = self.left[key]
        del self.left[key]
        return tensor.double()

    def norm(self, name: str, affine: bool = True) -> tuple[Tensor, Tensor]:
        """Scale and shift [C] of a normalisation. affine: whether it has weight and bias besides its statistics."""
        variance = self.take(f"{name}.running_var")
        scale = (variance + self.epsilon).rsqrt()
        if affine:
            scale = _same(self.take(f"{name}.weight"), scale) * scale
        shift = -_same(self.take(f"{name}.running_mean"), scale) * scale
        if affine:
            shift = shift + _same(self.take(f"{name}.bias"), scale)
        return scale, shift

    def put(self, name: str, weight: Tensor, bias: Tensor) -> None:
        """Store what a layer of ours gets."""
        self.folded[f"{name}.weight"], self.folded[f"{name}.bias"] = weight.float(), bias.float()

    def layer(self, layer: str, norm: str | None, name: str) -> None:
        """A convolution or dense layer without bias and the normalisation after it, if there is one, as `name`."""
        weight = self.take(f"{layer}.weight")
        if norm is None:
            self.put(name, weight, weight.new_zeros(weight.shape[0]))
        else:
            self.put(name, *after(weight, torch.zeros(()), *self.norm(norm)))


def after(weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [C, ...] and bias of a layer whose outputs [C] are then scaled and shifted."""
    if weight.ndim < 2 or weight.shape[:1] != scale.shape:  # or it would spread to a shape of any size
        raise RuntimeError("a layer and its normalisation have different numbers of channels")
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), bias * scale + shift


def _same(tensor: Tensor, other: Tensor) -> Tensor:
    if tensor.shape != other.shape or other.ndim != 1:
        raise RuntimeError("the parts of a normalisation have different shapes")
    return tensor
