"""What a graph may ask for, known before it is made: a few bytes in a file can claim all memory and all time.

The limits are some ten times what the largest face models need (SCRFD-34g on 640 pixels: 34 billion multiplications;
IResNet-100: 65 million weights, each used once) and what a processor does in about two seconds.
"""

from math import prod
from typing import Any

import numpy as np
from torch import Tensor

_SLACK, _USES = 2**22, 4  # numbers made ahead: so many for any file, and its own so many times over
_LIVE = 2**26  # numbers in memory at once in a forward with one picture
_WORK = 2**37  # multiplications of a forward with one picture
_STEP = 2**25  # multiplications that a step, and every four inputs of one, takes as long as to be tried
_MOVED = 32  # multiplications that reading or writing a number in memory takes as long as
_ON_HOST = 16  # tensor numbers that a number on the host counts as
# of sizes that are written in the graph: one of them, their product, and the product of the scales of a Resize
_LARGEST_SIZE, _LARGEST_SHAPE, _LARGEST_SCALE = 2**22, _LIVE, 2**10
# Which inputs of an operation say how large its result is.
_SIZES = {
    "ConstantOfShape": (0,), "Expand": (1,), "Tile": (1,), "Pad": (1,), "Range": (1,),
    "Resize": (1, 2, 3), "Upsample": (1,),
}  # fmt: skip


class TooMuch(ValueError):
    """A graph that asks for more memory or time than any face model."""


class Room:
    """How many numbers may still be made of a file's weights and constants, by what it holds itself."""

    def __init__(self, tensors: dict[str, np.ndarray]):
        self.left = _SLACK + _USES * sum(value.size for value in tensors.values())

    def take(self, count: int) -> None:
        """Count numbers that are about to be made, or were looked at; TooMuch when there were too many."""
        self.left -= count
        if self.left < 0:
            raise TooMuch("more weights than the file holds")


class Forward:
    """Memory and time of one forward with one picture, counted step by step on torch's meta device."""

    def __init__(self):
        self.live = self.work = 0

    def made(self, value: Tensor | np.ndarray) -> None:
        """Count a value that is kept from here on."""
        self.live += _weight(value)
        if self.live > _LIVE:
            raise TooMuch("memory")

    def dropped(self, value: Tensor | np.ndarray) -> None:
        """Count a value that is kept no longer."""
        self.live -= _weight(value)

    def worked(self, step: Any, inputs: list, results: list) -> None:
        """Count the multiplications of a plan.Step, and the numbers that it reads and writes."""
        written = sum(_weight(value) for value in results)
        read = sum(_weight(value) for value in inputs if value is not None)
        self.work += written * _each(step, inputs) + _MOVED * (read + written) + _STEP * (1 + len(inputs) // 4)
        if self.work > _WORK:
            raise TooMuch("time")


def _weight(value) -> int:
    return value.numel() if isinstance(value, Tensor) else _ON_HOST * np.size(value)


def _each(step, inputs) -> int:
    """Multiplications, comparisons or the like for each number of a step's result."""
    if step.layer is not None:
        return prod(step.layer.weight.shape[1:])
    if step.op in ("MaxPool", "AveragePool"):
        return prod(step.attributes["kernel_shape"])
    return inputs[0].shape[-1] if step.op == "MatMul" and np.ndim(inputs[0]) else 1


def check_size(count: int) -> None:
    """TooMuch when an operation would need so many numbers for one picture in passing."""
    if count > _LIVE:
        raise TooMuch("memory")


def check_sizes(op: str, inputs: list[np.ndarray | None]) -> None:
    """TooMuch when an operation's size is written in the graph (`inputs` are None where not) and absurd."""
    for place in _SIZES.get(op, ()):
        value = inputs[place] if place < len(inputs) else None
        if value is None:
            continue
        sizes = [abs(float(size)) for size in value.reshape(-1)[:64].tolist()]
        limit = _LARGEST_SCALE if value.dtype.kind == "f" and op != "Range" else _LARGEST_SHAPE
        # "not <=", because no number is either
        if not all(size <= _LARGEST_SIZE for size in sizes) or prod(max(1.0, size) for size in sizes) > limit:
            raise TooMuch(f"{op} to {sizes}")
