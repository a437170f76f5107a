"""Whose row it is and where in the picture: area prompts, masks of prompts, guiders of one, two and three lists."""

import cure_cases
import torch

from ..bench import CURES, EVERY, SIZE, left_half
from ..cases import Outcome, case
from ..sampling import basic, dual, guided, perp_neg

_HALF = 8 * SIZE // 2  # pixels
_RIGHT = (..., slice(SIZE // 2, None))  # of a latent


def set_area(bench, entries, x):
    """ConditioningSetArea on the left half (x 0) or the right one (x 1)."""
    return bench.node("ConditioningSetArea", entries, 2 * _HALF // 2, 2 * _HALF, x * _HALF, 0, 1.0)


@case("area on the positive prompt", "the negative given that area by hand too", EVERY)
def area_on_the_positive(bench, put):
    """ComfyUI makes an unconditional entry for the area itself where the negative prompt has none."""

    def run(put, by_hand):
        model, positive, negative = put()
        more = set_area(bench, negative, 0) if by_hand else []
        return bench.sample(model, set_area(bench, positive, 0), negative + more)

    return Outcome(run(put, False), run(put, True), run(put.base, True))


@case("area on the negative prompt", "the positive given that area by hand too", EVERY)
def area_on_the_negative(bench, put):
    def run(put, by_hand):
        model, positive, negative = put()
        more = set_area(bench, positive, 0) if by_hand else []
        return bench.sample(model, positive + more, set_area(bench, negative, 0))

    return Outcome(run(put, False), run(put, True), run(put.base, True))


@case("area in percent on the positive prompt", "the same area in pixels, on both prompts", ["identity", "cure"])
def area_in_percent(bench, put):
    def run(put, in_percent):
        model, positive, negative = put()
        if in_percent:
            area = bench.node("ConditioningSetAreaPercentage", positive, 0.5, 1.0, 0.5, 0.0, 1.0)
            return bench.sample(model, area, negative)
        return bench.sample(model, set_area(bench, positive, 1), negative + set_area(bench, negative, 1))

    return Outcome(run(put, True), run(put, False), run(put.base, False))


def _right_half(bench, how):
    """A way to say that a prompt is about the right half."""
    if how == "area":
        return lambda entries: set_area(bench, entries, 1)
    return lambda entries: bench.node("ConditioningSetMask", entries, 1 - left_half(), how, 1.0)


def _masked_away(how):
    def make(bench, put):
        """One step: a person in the left half has no say in a forward that shows the right half."""
        right = _right_half(bench, how)

        def run(put, **options):
            model, positive, negative = put(**options)
            return bench.sample(model, right(positive), right(negative), steps=1)[_RIGHT]

        return Outcome(run(put), run(put.base), run(put, mask=1 - left_half()))

    return make


MASKED = ["identity, masked", "cure, masked", "shared_attention, masked"]
case("mask on the left, area prompt on the right half", "no mask's feature in that half", MASKED)(_masked_away("area"))
case("mask on the left, prompt's mask (bounds) on the right", "no mask's feature in that half", MASKED)(
    _masked_away("mask bounds")
)


@case("mask and area prompt on the left half", "that area without a mask", ["identity, masked"])
def mask_fills_the_area(bench, put):
    def run(put):
        model, positive, negative = put()
        return bench.sample(model, set_area(bench, positive, 0), set_area(bench, negative, 0), steps=1)

    return Outcome(run(put), run(bench.feature("identity")), run(put.base))


@case("two people routed, left and right, area prompt on the right", "the right one alone there",
      ["routed people, masked"])  # fmt: skip
def routed_in_an_area(bench, put):
    """In a forward of the right half only the second person may be; whole, and not shared with the first."""

    def run(put, **options):
        model, positive, negative = put(**options)
        return bench.sample(model, set_area(bench, positive, 1), set_area(bench, negative, 1), steps=1)[_RIGHT]

    nowhere = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    nowhere[..., :1] = 1  # a sliver far away: a person with an empty mask is not applied, and would change the LoRA
    return Outcome(run(put), run(put, mask=nowhere), run(put.base))


@case("Combine of a prompt with itself", "the prompt once", EVERY)
def combined_with_itself(bench, put):
    model, positive, negative = put()
    return Outcome(bench.sample(model, positive + positive, negative), bench.alone(put), bench.alone(put.base))


@case("Perp-Neg as a model node", "PerpNegGuider", EVERY)
def perp_neg_node(bench, put):
    empty = cure_cases.prompt("sd15", "")

    def by_node(put):
        model, positive, negative = put()
        return bench.sample(bench.node("PerpNeg", model, empty, 1.0), positive, negative)

    def by_guider(put):
        return guided(bench, perp_neg(*put(), empty))

    return Outcome(by_node(put), by_guider(put), by_guider(put.base))


@case("DualCFGGuider, its second prompt the negative one", "an ordinary guider", EVERY)
def dual_as_cfg(bench, put):
    def by_dual(model, positive, negative):
        return guided(bench, dual(model, positive, negative, negative, 4.0, 4.0))

    return Outcome(by_dual(*put()), bench.alone(put), bench.alone(put.base))


@case("DualCFGGuider, nested, its second prompt the negative one", "an ordinary guider", CURES)
def nested_dual_as_cfg(bench, put):
    def by_dual(model, positive, negative):
        return guided(bench, dual(model, positive, negative, negative, 4.0, 1.0, nested=True))

    return Outcome(by_dual(*put()), bench.alone(put), bench.alone(put.base))


@case("CFG 1", "BasicGuider", EVERY)
def cfg_of_one(bench, put):
    def alone(model, positive, negative):
        return guided(bench, basic(model, positive))

    return Outcome(bench.sample(*put(), cfg=1.0), alone(*put()), alone(*put.base()))


@case("CFG 1, area on the positive prompt", "BasicGuider", ["identity", *CURES])
def cfg_of_one_with_an_area(bench, put):
    def alone(model, positive, negative):
        return guided(bench, basic(model, set_area(bench, positive, 0)))

    model, positive, negative = put()
    value = bench.sample(model, set_area(bench, positive, 0), negative, cfg=1.0)
    return Outcome(value, alone(*put()), alone(*put.base()))
