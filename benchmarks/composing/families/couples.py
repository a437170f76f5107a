"""Attention couple: regions of the picture with prompts of their own, which grow the batch within a layer."""

import cure_cases
import torch
from host_cases import randn

from ..bench import CURES, PEOPLE, left_half
from ..cases import Outcome, case

_PACK = "comfyui-tooling-nodes"


def couple(bench, model, left, right):
    """The left half by one prompt and the rest by another."""
    background = bench.node("ETN_BackgroundRegion", right)
    regions = bench.node("ETN_DefineRegion", left_half(), left, background)
    return bench.node("ETN_AttentionMask", model, regions)


def both_orders(bench, put):
    left, right = cure_cases.prompt("sd15", "a red house"), bench.prompts[0]

    def run(put, behind):
        model, *prompts = put(before=None if behind else lambda model: couple(bench, model, left, right))
        return bench.sample(couple(bench, model, left, right) if behind else model, *prompts)

    return Outcome(run(put, True), run(put, False), run(put.base, False))


def the_same_prompt_everywhere(bench, put):
    prompt = bench.prompts[0]

    def run(put, coupled):
        model, *prompts = put()
        return bench.sample(couple(bench, model, prompt, prompt) if coupled else model, *prompts)

    return Outcome(run(put, True), run(put, False), run(put.base, False))


# A couple gives its own prompts to all conditional rows, those too with which the cure compares: it finds nothing.
for _features, _may_say in (([*PEOPLE, "routed people, masked", "mixed_attention"], False), (CURES, True)):
    case("attention couple behind this pack's nodes", "the couple in front of them", _features, pack=_PACK,
         may_say=_may_say)(both_orders)  # fmt: skip
    case("attention couple with the prompt in both halves, behind", "no couple", _features, pack=_PACK,
         may_say=_may_say)(the_same_prompt_everywhere)  # fmt: skip


@case("attention couple, two pictures", "each by itself", PEOPLE,
      pack=_PACK)  # fmt: skip
def two_pictures(bench, put):
    left, right = cure_cases.prompt("sd15", "a red house"), bench.prompts[0]
    noise = randn(2, 4, 16, 16, seed=1)

    def run(put, together):
        model, positive, negative = put()
        model = couple(bench, model, left, right)
        parts = [noise] if together else noise.split(1)
        return torch.cat([bench.sample(model, positive, negative, noise=part) for part in parts])

    return Outcome(run(put, True), run(put, False), run(put.base, False))
