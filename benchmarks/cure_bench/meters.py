"""What a piece of work costs: seconds of the processor, floating-point operations, and memory."""

import time
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


class Cost(NamedTuple):
    """`flops` counts a multiplication and an addition as two; `peak` is in bytes."""

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


def peak_of(changes: list[int]) -> int:
    """The most that allocations (positive) and releases (negative), in bytes and in order, ever add up to."""
    return max(accumulate(changes, initial=0))


def peak_memory(work: Callable) -> int:
    """Most bytes that tensors allocated during `work` hold at once.

    Every allocation and release of PyTorch's CPU allocator is counted, also those inside operators; what was there
    before, weights above all, is not, nor is what libraries such as oneDNN allocate for themselves.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = (event for event in record.profiler.kineto_results.events() if event.name() == "[memory]")
    return peak_of([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])


def cost(work: Callable) -> Cost:
    """All three in one go; the counting takes time as well, little where operators are large."""
    with flop_counter() as counter:
        counted = []
        peak = peak_memory(lambda: counted.append(seconds(work)))
    return Cost(counted[0], counter.get_total_flops(), peak)
