"""What goes on inside the attentions of transformer blocks: ComfyUI's one `optimized_attention_override`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...attention.rotation import unrotated
from ...attention.transformer import ASIDE
from .. import keys
from ..sampling.injection import Here, Injection
from ..sampling.run import SELF, Run
from .shared import Sequence, read_words, seeing_twins

_OVERRIDE = "optimized_attention_override"


class Inside:
    """What the attention of one running block is to do more, made by its BlockPatch.

    `injections`: (Injection, its bank's index of the block). The tokens are `text` of the prompt, then `picture` of the
    picture; `pe` is the rotation of all. `shares`: rows with identity may see keys of their twins'; `reads`: maps of
    the prompt's words may be taken. `aside` [B,N,C]: what is to be added to the picture after the block, or None.
    """

    def __init__(
        self, key: tuple, injections: list[tuple[Injection, int]], text: int, picture: int, here: Here,
        pe: torch.Tensor, run: Run, shares: bool = False, reads: bool = False,
    ):  # fmt: skip
        self.key, self.injections, self.text, self.picture = key, injections, text, picture
        self.here, self.pe, self.run = here, pe, run
        self.shares, self.reads = shares, reads
        self.aside: torch.Tensor | None = None

    @staticmethod
    def named(key: tuple) -> tuple:
        """The name of a block's attention in Run.fired; the block itself goes by its key."""
        return ("inside", *key)

    def attention(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, attend: Callable,
        is_others: bool, options: dict,
    ) -> torch.Tensor | None:  # fmt: skip
        """The attention [B,L,heads*D] where it is another than the block's own; None where it is that.

        q, k, v [B,heads,L,D], rotated; see shared.seeing_twins.
        """
        twins = options.get(keys.TWINS)
        sequence = Sequence(self.key, self.text, self.here.grid, self.pe)
        if self.reads and twins is not None and twins.reads_maps:
            read_words(sequence, q, k, options, twins)
        if self.shares:
            self.run.fired.add((SELF, *self.key))
            if twins is not None and twins.gives_keys:
                return seeing_twins(sequence, q, k, v, mask, attend, is_others, options, twins)
        return None

    def add(self, q: torch.Tensor, out: torch.Tensor, options: dict):
        """Add to out [B,L,heads*D] what queries q [B,heads,L,D], rotated, find in the injections."""
        if self.injections:
            self.run.fired.add(self.named(self.key))
        whole = self.key[0] != "double_block"  # where prompt and picture are one stream, by one set of layers
        found: dict[int, torch.Tensor] = {}
        for injection, index in self.injections:
            if not injection.works(options, self.run):
                continue
            is_aside = injection.patcher.model.sites[index].where == ASIDE
            start = 0 if whole and not is_aside else self.text
            end = self.text + self.picture
            here = self.here._replace(heads=q.shape[1], text=self.text - start)
            if start not in found:
                found[start] = unrotated(q[:, :, start:end], self.pe[:, :, start:end]).transpose(1, 2).flatten(2)
            added = injection.residual(index, found[start], found[start], here, options, self.run)
            if added is None:
                continue
            if is_aside:
                self.aside = added if self.aside is None else self.aside + added
            else:
                out[:, start:end] += added


class Override:
    """The override: what another pack had there (`before`), and what the running block wants more. Immutable."""

    __slots__ = ("before",)

    def __init__(self, before: Callable | None):
        self.before = before

    def __deepcopy__(self, memo):
        return self

    def __call__(
        self, func: Callable, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        options = kwargs.get("transformer_options") or {}
        running, before = options.get(keys.BLOCK, ()), func if self.before is None else partial(self.before, func)
        if not running:
            return before(q, k, v, heads, *args, **kwargs)
        mask, out = kwargs.get("mask"), None

        def attend(q, k, v, mask):
            return before(q, k, v, heads, *args, **{**kwargs, "mask": mask})

        for inside in running:
            if out is None:
                out = inside.attention(q, k, v, mask, attend, self.before is not None, options)
        out = attend(q, k, v, mask) if out is None else out
        for inside in running:
            inside.add(q, out, options)
        return out


def take_attention(model: ModelPatcher):
    """Put our override on `model`, a clone of the caller's own, around whatever is there."""
    options = model.model_options["transformer_options"]
    if not isinstance(options.get(_OVERRIDE), Override):
        options[_OVERRIDE] = Override(options.get(_OVERRIDE))
