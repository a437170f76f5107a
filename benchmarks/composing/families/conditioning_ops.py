"""Operations on prompts: with a face in them its twin without the face has to follow; any feature has to bear them.

What a row reads is looked at from outside, by a wrapper around the model.
"""

from functools import cache

import cure_cases
import torch
from host_cases import adapter as instantid
from host_cases import apply
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.cure import apply as apply_module
from likeness.core.host.sampling import strength
from likeness.core.host.who import person
from prompt_cases import encode, photomaker_adapter, text_encode, who

from ..bench import EVERY
from ..cases import Outcome, case, difference

_KIND = "sdxl"  # PhotoMaker's; of two photographs, it takes the word for the person twice
_FACE, _PLAIN = "photo of a woman img, red hair", "photo of a woman woman, red hair"


@cache
def _sdxl():
    from tiny.unet import unet

    return unet(_KIND)


@cache
def _photomaker():
    adapter = photomaker_adapter("v1")
    return adapter, encode(adapter, _FACE, **who("v1", 2))


def _more():
    return text_encode("in the snow, at night, oil painting")


def _concat(bench, to, other):
    return bench.node("ConditioningConcat", to, other)


OPERATIONS = {
    "a face in the prompt": lambda bench, prompt: prompt,
    "Concat, the face first": lambda bench, prompt: _concat(bench, prompt, _more()),
    "Concat, the face behind": lambda bench, prompt: _concat(bench, _more(), prompt),
    "Average, to the face": lambda bench, prompt: bench.node("ConditioningAverage", prompt, _more(), 0.5),
    "Average, from the face": lambda bench, prompt: bench.node("ConditioningAverage", _more(), prompt, 0.5),
    "ZeroOut of a prompt with a face": lambda bench, prompt: bench.node("ConditioningZeroOut", prompt),
    "Combine with a plain prompt": lambda bench, prompt: prompt + _more(),
    "SetTimestepRange of a prompt with a face": lambda bench, prompt: bench.node(
        "ConditioningSetTimestepRange", prompt, 0.0, 0.5
    ),
}


def _texts_read(bench, model, positive, negative):
    """The text [T,C] of every row of one step."""
    seen = []

    def watch(apply_model, given):
        seen.extend(given["c"]["c_crossattn"])
        return apply_model(given["input"], given["timestep"], **given["c"])

    watched = model.clone()
    watched.set_model_unet_function_wrapper(watch)
    bench.sample(watched, positive, negative, steps=1)
    return seen


def _far(row, text):
    """How far a row's text is from another; ComfyUI repeats short ones in a batch with long ones."""
    if row.shape[0] % text.shape[1]:
        return float("inf")
    return difference(row, text[0].repeat(row.shape[0] // text.shape[1], 1))


def _twin_follows(operation):
    def make(bench, put):
        """Mixed attention asks the twin of each row: one row has to read the operation on the prompt less the face."""
        adapter, with_face = _photomaker()
        prompt, negative = operation(bench, with_face), text_encode("blurry")
        applied = adapter_module.apply_adapter(
            _sdxl(), prompt, negative, adapter, person.Sources(**who("v1", 2)), adapter_module.Strength(0.8), None,
            adapter_module.Settings(mixed_attention=True),
        )[:3]  # fmt: skip
        return _compare(bench, operation, applied, prompt, prompt + negative)

    return make


def _twin_follows_the_cure(operation):
    def make(bench, put):
        """The same with InstantID on the model, and the cure."""
        _, with_face = _photomaker()
        prompt, negative = operation(bench, with_face), text_encode("blurry")
        model, *prompts = apply(_sdxl(), prompt, negative, instantid(_KIND), kind=_KIND)
        mask = torch.ones(1, 128, 128) * 0.5
        cured = apply_module.apply_cure(
            model, cure_cases.clip(_KIND), _PLAIN, mask=mask, strength=strength.Strength(1.0)
        )
        return _compare(bench, operation, (cured, *prompts), prompt)

    return make


def _compare(bench, operation, applied, prompt, others=None):
    """How far the nearest row is from the right text; `others`: what else rows may read, None for anything."""
    right = [text for text, _ in operation(bench, text_encode(_PLAIN))]
    rows = _texts_read(bench, *applied)
    off = min(_far(row, right[0]) for row in rows)
    if others is not None:
        allowed = [*right, *(text for text, _ in others)]
        off = max(off, *(min(_far(row, text) for text in allowed) for row in rows))
    return Outcome(off, 0.0, difference(text_encode(_PLAIN)[0][0], prompt[0][0][:, :77]))


for _name, _operation in OPERATIONS.items():
    _against = "a twin that reads the same of the prompt less the face"
    case(_name, _against, ["mixed_attention"], may_say=True)(_twin_follows(_operation))
    if "ZeroOut" not in _name:  # there the prompt itself reads what its twin has to
        case(_name, _against, ["cure"], may_say=True)(_twin_follows_the_cure(_operation))


@case("the prompt in two SetTimestepRange, combined", "the prompt once", EVERY)
def in_two_ranges(bench, put):
    def run(put, in_two):
        model, positive, negative = put()
        if in_two:
            ranges = [bench.node("ConditioningSetTimestepRange", positive, *at) for at in ((0.0, 0.5), (0.5, 1.0))]
            positive = ranges[0] + ranges[1]
        return bench.sample(model, positive, negative, steps=3)

    return Outcome(run(put, True), run(put, False), run(put.base, False))


@case("Concat of the prompt with more words", "the same entry made by hand", ["identity", "cure", "mixed_attention"])
def concatenated(bench, put):
    """Whether it is done in front of this pack's nodes or behind them."""
    more = cure_cases.prompt("sd15", "in the snow")

    def run(put, behind):
        positive, negative = bench.prompts
        if behind:
            model, positive, negative = put()
            return bench.sample(model, _concat(bench, positive, more), negative)
        return bench.sample(*put(prompts=(_concat(bench, positive, more), negative)))

    return Outcome(run(put, True), run(put, False), run(put.base, False))
