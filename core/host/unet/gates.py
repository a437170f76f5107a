"""Adapters whose gates (attention.gates) work on what goes into the cross-attentions: ComfyUI's middle_patch."""

import torch
from comfy.model_patcher import ModelPatcher

from .. import keys
from ..sampling.injection import Injection, Site
from ..sampling.run import Run
from .sites import running

_NAME = "middle_patch"


class GatePatch:
    """What is added between the self-attention and the cross-attention of each block, for every adapter with gates.

    `applied`: per adapter its Injection, the ModelPatcher that owns the gates' layers, and its bank's index of each
    site's key. All see the same input, so their order does not matter. Immutable.
    """

    __slots__ = ("applied",)

    def __init__(self, applied: tuple[tuple[Injection, object, dict], ...]):
        self.applied = applied

    def __call__(self, x: torch.Tensor, extra_options: dict) -> torch.Tensor:
        key = (*extra_options["block"], extra_options["block_index"])
        run = extra_options.get(keys.RUN) or Run()  # a sampler that goes around ComfyUI's own opens no run
        run.fired.add(_fired(key))
        out, here = x, running(extra_options)
        for injection, _, places in self.applied:
            index = places.get(key)
            added = None if index is None else injection.residual(index, x, x, here, extra_options, run)
            if added is not None:
                out = out + added
        return out

    def __deepcopy__(self, memo):
        return self

    def models(self) -> list[ModelPatcher]:
        """The ModelPatchers that ComfyUI loads together with the model."""
        return [patcher for injection, layers, _ in self.applied for patcher in (injection.patcher, layers)]


def _fired(key):
    """The name of a gate in Run.fired; its cross-attention, which others patch, goes by the key alone."""
    return ("gate", *key)


def inject_gates(
    model: ModelPatcher, injection: Injection, layers: ModelPatcher, sites: list[tuple[int, Site]]
) -> frozenset:
    """Add an injection to `model`, a clone of the caller's own; `sites` are (number in its bank, Site).

    `layers`: the ModelPatcher of the adapter, whose layers the gates use while sampling. Returns their names in
    Run.fired.
    """
    applied = (injection, layers, {site.key: index for index, site in sites})
    patches = model.model_options["transformer_options"].get("patches", {})
    taken = patches.get(_NAME, [])
    if has_gates(model.model_options["transformer_options"]):
        taken = [GatePatch((*one.applied, applied)) if isinstance(one, GatePatch) else one for one in taken]
    else:
        taken = [*taken, GatePatch((applied,))]
    model.model_options["transformer_options"]["patches"] = {**patches, _NAME: taken}
    return frozenset(_fired(site.key) for _, site in sites)


def has_gates(transformer_options: dict) -> bool:
    """Whether an adapter with gates is applied."""
    return any(isinstance(one, GatePatch) for one in transformer_options.get("patches", {}).get(_NAME, []))
