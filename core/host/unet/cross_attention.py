"""The attention patch: what ComfyUI calls at each cross-attention site, for every adapter applied there."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrapperExecutor, WrappersMP

from .. import keys
from ..sampling.injection import Injection, Site
from ..sampling.run import Run
from .routing import keep_hidden_states, routed_people, token_shares
from .sites import running


class IDPatch:
    """Replacement of one cross-attention: the attention that was there, plus the residual of each adapter.

    `base` is what another pack had put there (None: ComfyUI's own attention), `of_block` whether it had put it on the
    whole block. `add` is the protocol by which IPAdapter_plus and InstantID's pack join a site that is already taken.
    They call it in place, so every clone of a model gets patch objects of its own (see `unshare`) and a model upstream
    never hears of it.
    """

    __slots__ = ("base", "injections", "key", "of_block", "strangers")

    def __init__(self, key, injections, base=None, strangers=(), of_block=False):
        self.key, self.base, self.of_block = key, base, of_block
        self.injections = tuple(injections)  # (Injection, its bank's index of this site)
        self.strangers = list(strangers)  # (callback, keyword arguments)

    def __call__(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_options: dict) -> torch.Tensor:
        if self.base is not None:
            out = text = self.base(q, k, v, extra_options)
        else:
            out = text = optimized_attention(
                q,
                k,
                v,
                extra_options["n_heads"],
                attn_precision=extra_options.get("attn_precision"),
                transformer_options=extra_options,
            )
        run = extra_options.get(keys.RUN) or Run()  # a sampler that goes around ComfyUI's own opens no run
        run.fired.add(self.key)
        here = running(extra_options)
        shares = token_shares(self.injections, q, here, extra_options, run)
        for injection, index in self.injections:
            residual = injection.residual(index, q, text, here, extra_options, run)
            if residual is not None:
                share = shares.get(injection)
                out = out + (residual if share is None else residual * share)
        for callback, options in self.strangers:
            if options["sigma_end"] <= run.sigma(extra_options["sigmas"]) <= options["sigma_start"]:
                out = (out + callback(out, q, k, v, extra_options, **options)).to(q.dtype)
        return out

    def add(self, callback: Callable, **kwargs: Any):
        """Join this site as other packs do: `callback(out, q, k, v, extra_options, **kwargs)` is added to the rest."""
        self.strangers.append((callback, kwargs))

    def copy(self) -> "IDPatch":
        return IDPatch(self.key, self.injections, self.base, self.strangers, self.of_block)

    def behind(self, base: Callable) -> "IDPatch":
        """The same patch over what another pack has put on the whole block."""
        return IDPatch(self.key, self.injections, base, self.strangers, of_block=True)

    def __deepcopy__(self, memo):
        return self.copy()

    def models(self) -> list[ModelPatcher]:
        """The ModelPatchers that ComfyUI loads together with the model."""
        models = [injection.patcher for injection, _ in self.injections]
        models += [injection.router for injection, _ in self.injections if injection.router is not None]
        return models + (self.base.models() if hasattr(self.base, "models") else [])

    def to(self, target: object) -> "IDPatch":
        """Our weights move with their ModelPatcher; only a stranger's patch may want to move itself."""
        if hasattr(self.base, "to"):
            return IDPatch(self.key, self.injections, self.base.to(target), self.strangers, self.of_block)
        return self


def inject(model: ModelPatcher, injection: Injection, sites: list[tuple[int, Site]]) -> frozenset:
    """Add an injection to `model`, a clone of the caller's own; `sites` are (number in its bank, Site).

    Returns their names in Run.fired.
    """
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for index, site in sites:
        before = taken.get(site.key) or taken.get(site.key[:2])
        if isinstance(before, IDPatch):
            injections = (*before.injections, (injection, index))
            patch = IDPatch(site.key, injections, before.base, before.strangers, before.of_block)
        else:
            patch = IDPatch(site.key, [(injection, index)], base=before, of_block=site.key not in taken)
        model.set_model_attn2_replace(patch, *site.key)
    if routed_people(model) > 1:
        keep_hidden_states(model)
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, keys.BLOCKS)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, keys.BLOCKS, join_blocks)
    model.remove_callbacks_with_key(CallbacksMP.ON_CLONE, keys.RUN)
    model.add_callback_with_key(CallbacksMP.ON_CLONE, keys.RUN, unshare)
    return frozenset(site.key for _, site in sites)


def join_blocks(executor: WrapperExecutor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Around a run: our patches go over those of packs that have taken whole blocks since (IPAdapter_plus on SD1.5).

    ComfyUI runs the patch of a site and forgets that of its block. The options are the run's own.
    """
    taken = executor.class_obj.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for key, patch in list(taken.items()):
        whole = taken.get(key[:2]) if isinstance(patch, IDPatch) and len(key) == 3 else None
        if whole is not None and (patch.base is None or patch.of_block):
            taken[key] = patch.behind(whole)
    return executor(*args, **kwargs)


def unshare(model: ModelPatcher, clone: ModelPatcher):
    """Give a fresh clone patch objects of its own: newer ComfyUI copies only the dictionaries that hold them."""
    patches = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    for key, patch in patches.items():
        if isinstance(patch, IDPatch):
            patches[key] = patch.copy()
