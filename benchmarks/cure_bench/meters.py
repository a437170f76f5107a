"""What a piece of work costs: seconds of the processor, floating-point operations, and memory."""

import time
import weakref
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary


class Cost(NamedTuple):
    """`flops` counts a multiplication and an addition as two; `peak` is in bytes, of tensors."""

    seconds: float
    flops: int
    peak: int


def seconds(work: Callable) -> float:
    """Of the processor rather than of the clock, so that a neighbour on the machine counts little."""
    start = time.process_time()
    work()
    return time.process_time() - start


def flop_counter() -> FlopCounterMode:
    """PyTorch's counter of matrix products, convolutions and attentions, which does not know the CPU's attention."""
    operator = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={operator: _attention_flops})


def _attention_flops(query, key, value, *_, out_shape=None, **__):
    return sdpa_flop_count(query, key, value)


class LiveTensors(TorchDispatchMode):
    """Bytes of tensors that operators have returned and that are still referred to: `peak` is the most there ever was.

    The same on every device. What was there before (weights above all) is not counted, nor what an operator needs for
    itself, such as the repacked weights of a convolution, which on a CPU outweigh small activations.
    """

    def __init__(self):
        super().__init__()
        self.peak = self._live = 0
        self._known = WeakIdKeyDictionary()  # storages; views share one

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        for tensor in _tensors((arguments, kwargs)):
            self._known[tensor.untyped_storage()] = True
        result = function(*arguments, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known[storage] = True
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return result

    def _count(self, change):
        self._live += change
        self.peak = max(self.peak, self._live)


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def cost(work: Callable) -> Cost:
    """All three in one go; the counting takes time as well, little where operators are large."""
    with LiveTensors() as memory, flop_counter() as counter:
        spent = seconds(work)
    return Cost(spent, counter.get_total_flops(), memory.peak)
