"""Patches of ComfyUI's own nodes beside this pack's: FreeU, HyperTile, deep shrink, token merging."""

import torch

from ..bench import EVERY, left_half
from ..cases import Outcome, case

NODES = {
    "FreeU V2": lambda bench, model: bench.node("FreeU_V2", model, 1.3, 1.4, 0.9, 0.2),
    "PatchModelAddDownscale": lambda bench, model: bench.node(
        "PatchModelAddDownscale", model, 3, 2.0, 0.0, 1.0, True, "bicubic", "bicubic"
    ),
    "HyperTile": lambda bench, model: bench.node("HyperTile", model, 32, 2, 0, False),
    "TomePatchModel": lambda bench, model: bench.node("TomePatchModel", model, 0.3),
}
_TAKE_TOKENS_APART = ("HyperTile", "TomePatchModel")
KEYS_SHARED = ("shared_attention", "both", "mixed_attention")


def _orders(node):
    def make(bench, put):
        def run(put, behind):
            model, *prompts = put(before=None if behind else lambda model: node(bench, model))
            torch.manual_seed(0)  # these nodes draw from torch's own numbers
            return bench.sample(node(bench, model) if behind else model, *prompts)

        return Outcome(run(put, True), run(put, False), run(put.base, False))

    return make


def _halves(node):
    def make(bench, put):
        """The person twice, in the left half and in the right one, is the person once."""
        masked, mask = bench.feature("identity, masked"), left_half()

        def run(*applied):
            torch.manual_seed(0)
            model, *prompts = applied
            return bench.sample(node(bench, model), *prompts)

        both = masked.feature.add(bench, *masked(mask=mask), 1 - mask)
        return Outcome(run(*both), run(*put()), run(*put.base()))

    return make


for _name, _node in NODES.items():
    _apart = _name in _TAKE_TOKENS_APART
    for _feature in EVERY:
        case(f"{_name} behind", "in front", [_feature], may_say=_apart and _feature in KEYS_SHARED)(_orders(_node))
    case(f"{_name}, the person in each half", "the person in the whole picture", ["identity"])(_halves(_node))
