"""What a cured run costs, as a multiple of the same run with the adapter and no cure."""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from cure_cases import PROMPT, Case, clip
from facelets import pack
from host_cases import adapter
from ruler.figures import shown
from ruler.stack import SIZE
from ruler.task import case, person
from tiny.unet import unet

from .figures import table
from .meters import Cost, cost, seconds
from .runs import euler, noise_of, personalised, run, stack, task_of

# Options of `core.host.cure.apply.apply_cure`; `end_at` is spelled out by `cured`.
ROWS = {
    "noise_blend, as the node has it": {},
    "noise_blend, trajectory separate": {"trajectory": "separate"},
    "noise_blend, end_at 0.8": {"end_at": 0.8},
    "noise_blend, abstract_pass 0.5": {"abstract_pass": 0.5},
    "shared_attention": {"mode": "shared_attention"},
    "both": {"mode": "both"},
    "freecure": {"mode": "freecure"},
    "freecure as published": {"mode": "freecure", "trajectory": "separate", "abstract_pass": 0.5},
}


@dataclass(frozen=True)
class Subject:
    """A MODEL with an adapter, ready to sample: `sample(model)` is one run. `repeats` 0: times are those of the metered
    run, for networks so large that metering doesn't show."""

    title: str
    model: object
    clip: object
    text: str
    sample: Callable
    repeats: int


class Price(NamedTuple):
    """One row. `times` are multiples of the plain run's, one for each repeat; `mask` is the mean of the masks."""

    times: list[float]
    cost: Cost
    mask: float


def facelets(steps: int, cfg: float, repeats: int) -> Subject:
    """Facelets with its adapter and its ControlNet, a picture of 128 x 128."""
    asked = replace(case(person(0), 0, 0), text=PROMPT)
    graph = personalised(task_of(asked))
    noise = noise_of(graph, asked.seed)
    title = f"Facelets with adapter and ControlNet, {SIZE} x {SIZE}, {steps} steps of Euler, CFG {cfg:g}"
    return Subject(
        title, graph.model, stack().parts.clip, PROMPT,
        lambda model: run(graph._replace(model=model), euler, steps, cfg, noise), repeats,
    )  # fmt: skip


def stable_diffusion(steps: int, cells: int, repeats: int) -> Subject:
    """SD1.5 in its full size with an InstantID adapter, all weights random, fp32; latents of cells x cells."""
    kind = "sd15_full"
    made = Case(kind, unet(kind), adapter(kind))
    title = f"SD1.5's U-Net with an adapter, random weights, {8 * cells} x {8 * cells}, {steps} steps of Euler, CFG 4"
    return Subject(
        title, made.model, clip(kind), made.text,
        lambda model: made.sample(model, steps=steps, shape=(1, 4, cells, cells)), repeats,
    )  # fmt: skip


def cured(subject: Subject, end_at: float = 1.0, **options):
    """AttributeCure on the subject's model."""
    how = pack.module("core.host.sampling.strength").Strength(1.0, 0.0, end_at)
    apply = pack.module("core.host.cure.apply").apply_cure
    return apply(subject.model, subject.clip, subject.text, strength=how, **options)


def measure(subject: Subject, rows: dict[str, dict] = ROWS) -> tuple[Cost, dict[str, Price]]:
    """The plain run's cost, and the price of each row.

    Plain and cured runs take turns, so that a machine that gets slower slows both: a row's time is divided by the mean
    of the plain run's before and after it.
    """
    share = []
    models = {
        name: cured(subject, observe=lambda _, masks: share.append(float(masks.amax(dim=1).mean())), **options)
        for name, options in rows.items()
    }
    with torch.inference_mode():
        plain = cost(lambda: subject.sample(subject.model))
        prices = {}
        for name, model in models.items():
            share.clear()
            spent = cost(lambda model=model: subject.sample(model))
            prices[name] = Price([], spent, share[-1] if share else float("nan"))
            _report(f"{name}: {spent.flops / plain.flops:.3f} of the plain run's FLOPs")
        for _ in range(subject.repeats):
            for name, ratio in _round(subject, models):
                prices[name].times.append(ratio)
            _report("one round")
    if not subject.repeats:
        for price in prices.values():
            price.times.append(price.cost.seconds / plain.seconds)
    return plain, prices


def _round(subject, models) -> Iterator[tuple[str, float]]:
    before = seconds(lambda: subject.sample(subject.model))
    for name, model in models.items():
        spent = seconds(lambda model=model: subject.sample(model))
        after = seconds(lambda: subject.sample(subject.model))
        yield name, spent / ((before + after) / 2)
        before = after


def _report(line):
    print(line, file=sys.stderr, flush=True)


def markdown(subject: Subject, plain: Cost, prices: dict[str, Price]) -> str:
    """One row per way to cure."""
    header = ["", "time", "lowest to highest", "FLOPs", "memory", "MB more", "mask"]
    lines = [
        [name, shown(statistics.median(price.times), 2), f"{min(price.times):.2f} to {max(price.times):.2f}",
         shown(price.cost.flops / plain.flops, 3), shown(price.cost.peak / plain.peak, 2),
         shown((price.cost.peak - plain.peak) / 1e6, 1), shown(price.mask, 2)]
        for name, price in prices.items()
    ]  # fmt: skip
    times = f"median of {subject.repeats} interleaved" if subject.repeats else "of one metered run"
    return (
        f"### {subject.title}\n\n"
        f"Without the cure: {plain.flops / 1e9:.1f} GFLOP, at most {plain.peak / 1e6:.1f} MB of tensors beside the "
        f"weights. Time (CPU seconds, {times}), FLOPs and memory are multiples of that; mask is the share of the "
        f"picture that the masks cover together.\n\n{table(header, lines)}"
    )
