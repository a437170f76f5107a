"""The block patch: what ComfyUI calls at each transformer block, for every adapter applied there.

Blocks write into the tensor that they get and return it, and ComfyUI adds what ControlNets say to what we return.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP

from ...attention.transformer import AFTER, added_together
from .. import keys
from ..sampling.injection import Here, Injection, Site, with_identity
from ..sampling.rows import rows_of
from ..sampling.run import SELF, Run
from .attention import Inside, take_attention

_DOUBLE = "double_block"
_FIRST = (_DOUBLE, 0)  # always ours, as single blocks have to know how long the prompt is
_HALF_MAX = 65504.0  # of float16


class BlockPatch:
    """Replacement of one block: the block, or what another pack had put there (`base`), plus what each adapter adds.

    All adapters see the same state, so their order does not matter. Every clone of a model gets patch objects of its
    own (see `unshare`). `patch`: cells of the latent along a side of a picture token. `injections`: (Injection, its
    bank's index of this block, the ModelPatcher of layers that it uses or None). `shares`: twins may give keys here;
    `reads`: maps of the prompt's words may be taken here.
    """

    __slots__ = ("after", "base", "in_attention", "inside", "injections", "key", "patch", "reads", "shares")

    def __init__(
        self, key: tuple, injections: Any, patch: int, base: Any = None, shares: bool = False, reads: bool = False
    ):
        self.key, self.injections, self.patch, self.base = key, tuple(injections), patch, base
        self.shares, self.reads = shares, reads
        pairs = [(one, index) for one, index, _ in self.injections]
        self.after = [(one, index) for one, index in pairs if _where(one, index) == AFTER]
        self.inside = [(one, index) for one, index in pairs if _where(one, index) != AFTER]
        self.in_attention = bool(self.inside) or shares or reads  # whether it has something to do there

    def __call__(self, args: dict, extra: dict) -> dict:
        options = args.get("transformer_options") or {}
        is_double = self.key[0] == _DOUBLE
        if is_double:
            options[keys.TEXT] = args["txt"].shape[1]  # single blocks are given both in one
        text = options.get(keys.TEXT)
        if text is None:  # another node has taken all double blocks
            return self._block(args, extra)
        run = options.get(keys.RUN) or Run()  # a sampler that goes around ComfyUI's own opens no run
        start, tokens, latent = 0 if is_double else text, args["img"].shape[1], options.get(keys.LATENT)
        grid = (1, tokens - start) if latent is None else tuple(-(-side // self.patch) for side in latent)
        end = min(tokens, start + grid[0] * grid[1])  # behind it lie reference pictures, which get nothing
        here = Here(0, grid, self.patch)
        inside = Inside(self.key, self.inside, text, end - start, here, args["pe"], run, self.shares, self.reads)
        outer = options.get(keys.BLOCK, ())  # of a patch of ours that another pack's stands between
        if self.in_attention:
            options[keys.BLOCK] = (*outer, inside)
        out = self._block(args, extra)
        options[keys.BLOCK] = outer
        added = [*self._after(out["img"][:, start:end], here, options, run), inside.aside]
        added = [one for one in added if one is not None]
        if not added:
            return out
        # What another pack's patch has returned may still be its own.
        whole = out["img"] if self.base is None else out["img"].clone()
        picture = whole[:, start:end]
        for one in added:
            picture += one
        if picture.dtype == torch.float16:  # as the blocks themselves do
            picture.copy_(picture.nan_to_num(nan=0.0, posinf=_HALF_MAX, neginf=-_HALF_MAX))
        return {**out, "img": whole}

    def _block(self, args, extra):
        return extra["original_block"](args) if self.base is None else self.base(args, extra)

    def _after(self, picture, here, options, run):
        """What adapters add to picture [B,N,C] after the block; None in place of nothing."""
        if not self.after:
            return []
        run.fired.add(self.key)
        rows, groups = rows_of(options, picture.shape[0]), defaultdict(list)  # by whether they add something of nobody
        for one, index in self.after:
            if one.works(options, run):
                groups[one.has_nobody].append((one, index))
        return [self._together(group, picture, here, run, rows) for group in groups.values()]

    @staticmethod
    def _together(group, picture, here, run, rows):
        sites = [one.patcher.model.sites[index] for one, index in group]
        masks = [one.mask(picture, here, run, rows) for one, _ in group]

        def added(q, text, kinds, *masks):
            return added_together(sites, q, kinds, masks)

        return with_identity(group[0][0].among(rows), added, picture, picture, *masks)

    def changed(self, **parts: Any) -> "BlockPatch":
        """A patch of its own, with some parts in place of its own ones."""
        own = {"injections": self.injections, "base": self.base, "shares": self.shares, "reads": self.reads}
        return BlockPatch(self.key, patch=self.patch, **{**own, **parts})

    def __deepcopy__(self, memo):
        return self.changed()

    def models(self) -> list[ModelPatcher]:
        """The ModelPatchers that ComfyUI loads together with the model."""
        models = [one for injection, _, layers in self.injections for one in (injection.patcher, layers) if one]
        return models + (self.base.models() if hasattr(self.base, "models") else [])

    def to(self, target: object) -> "BlockPatch":
        """Our weights move with their ModelPatcher; only a stranger's patch may want to move itself."""
        if hasattr(self.base, "to"):
            return self.changed(base=self.base.to(target))
        return self


def _where(injection, index):
    return injection.patcher.model.sites[index].where


def inject(
    model: ModelPatcher, injection: Injection, layers: ModelPatcher | None, sites: list[tuple[int, Site]], patch: int
) -> frozenset:
    """Add an injection to `model`, a clone of the caller's own; `sites` are (number in its bank, Site).

    Returns their names in Run.fired.
    """
    names = set()
    for index, site in sites:
        before = _on(model, site.key, patch)
        _put(model, before.changed(injections=(*before.injections, (injection, index, layers))))
        names.add(site.key if _where(injection, index) == AFTER else Inside.named(site.key))
    _finish(model, patch)
    return frozenset(names)


def share_keys(model: ModelPatcher, blocks: Iterable[tuple], patch: int) -> frozenset:
    """Let rows with identity see their twins' keys in `blocks` (keys) of `model`, a clone of the caller's own.

    Returns their names in Run.fired.
    """
    blocks = list(blocks)
    for key in blocks:
        _put(model, _on(model, key, patch).changed(shares=True))
    _finish(model, patch)
    return frozenset((SELF, *key) for key in blocks)


def read_maps(model: ModelPatcher, blocks: Iterable[tuple], patch: int):
    """Let maps of the prompt's words be taken in `blocks` (keys) of `model`, a clone of the caller's own."""
    for key in blocks:
        _put(model, _on(model, key, patch).changed(reads=True))
    _finish(model, patch)


def _on(model, key, patch):
    """Our patch on a block, or one that does nothing yet around whatever is there."""
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {}).get(key)
    return taken if isinstance(taken, BlockPatch) else BlockPatch(key, (), patch, taken)


def _put(model, patch):
    model.set_model_patch_replace(patch, "dit", *patch.key)
    if patch.in_attention:
        take_attention(model)


def _finish(model, patch):
    _put(model, _on(model, _FIRST, patch))
    model.remove_callbacks_with_key(CallbacksMP.ON_CLONE, keys.RUN)
    model.add_callback_with_key(CallbacksMP.ON_CLONE, keys.RUN, unshare)


def unshare(model: ModelPatcher, clone: ModelPatcher):
    """Give a fresh clone patch objects of its own: newer ComfyUI copies only the dictionaries that hold them."""
    patches = clone.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for key, patch in patches.items():
        if isinstance(patch, BlockPatch):
            patches[key] = patch.changed()
