"""How well the abstract pass comes back to a picture when nothing is asked of it: up and down with the same prompt."""

import dataclasses
import sys
from collections import defaultdict
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from facelets import pack
from ruler.figures import shown
from ruler.stack import Graph
from ruler.task import Case, case, person

from .figures import psnr, table
from .runs import euler, finished, noise_of, personalised, run, stack, task_of

DEPTHS, REFINES = (0.3, 0.5, 0.7), (0, 1, 2, 3)


class Way(NamedTuple):
    depth: float
    refine: int


WAYS = [Way(*way) for way in product(DEPTHS, REFINES)]


def only_the_pass(graph: Graph, text: str, way: Way):
    """A MODEL that does nothing but the pass, with the prompt itself in place of the one that lacks an expression."""
    # the expression only makes a pass, and what it is about is replaced
    apply = pack.module("core.host.cure.apply").apply_cure
    model = apply(graph.model, stack().parts.clip, "a portrait, laughing", abstract_pass=way.depth)
    hooks = model.get_wrappers("outer_sample", pack.module("core.host.keys").CURE)[0].__self__
    same = pack.module("core.host.conditioning.prompt").encode(stack().parts.clip, text)
    mode = dataclasses.replace(hooks.plan.mode, refine=way.refine)
    plan = dataclasses.replace(hooks.plan, mode=mode, context=same.context, template=same, attributes=(), lacking=None)
    model = graph.model.clone()
    type(hooks)(plan).install(model)
    return model


def measure(pictures: int, steps: int) -> dict[Way, list[tuple[float, float]]]:
    """(PSNR of latents over their range, of decoded pictures over 1), one pair for each picture."""
    found = defaultdict(list)
    stack()  # ComfyUI first
    with torch.inference_mode():
        for number in range(pictures):
            asked = case(person(number), number, 0)
            for way, pair in _round_trips(asked, steps):
                found[way].append(pair)
            print(f"picture {number + 1} of {pictures}", file=sys.stderr, flush=True)
    return found


def _round_trips(asked: Case, steps: int):
    """Both PSNR of each way for a picture with identity and pose."""
    graph = personalised(task_of(asked))
    noise = noise_of(graph, asked.seed)
    before = run(graph, euler, steps, 1.0, noise)
    image, span = stack().parts.vae.decode(before), float(before.max() - before.min())
    for way in WAYS:
        passing = graph._replace(model=only_the_pass(graph, asked.text, way))
        after = run(passing, finished, steps, 1.0, noise, before)
        yield way, (psnr(before, after, span), psnr(image, stack().parts.vae.decode(after), 1.0))


def evaluations(way: Way, steps: int) -> int:
    """Predictions that the pass takes."""
    levels = pack.module("core.cure.inversion").steps_of_depth(torch.arange(steps, -1, -1), way.depth)
    return (len(levels) - 1) * (way.refine + 2)


def markdown(found: dict, pictures: int, steps: int) -> str:
    """Refinements down, depth across."""
    text = (
        "### Inversion\n\nPictures of Facelets with adapter and ControlNet, CFG 1, taken up and down with the same "
        "prompt, unguided, without identity: PSNR in dB of latents over their range / of decoded pictures "
        f"(predictions that it takes), means over {pictures} pictures of {steps} steps.\n"
    )
    rows = []
    for refine in REFINES:
        ways = [Way(depth, refine) for depth in DEPTHS]
        means = [np.mean(found[way], axis=0) for way in ways]
        rows.append([str(refine), *(_cell(*pair, steps) for pair in zip(ways, means, strict=True))])
    header = ["refine", *(f"depth {depth}" for depth in DEPTHS)]
    return f"{text}\n{table(header, rows)}"


def _cell(way, mean, steps):
    return f"{shown(mean[0], 1)} / {shown(mean[1], 1)} ({evaluations(way, steps)})"
