"""What is added inside the attentions of transformer blocks: ComfyUI's one `optimized_attention_override`."""

from collections.abc import Callable
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from ...attention.transformer import ASIDE
from .. import keys
from ..sampling.injection import Here, Injection
from ..sampling.run import Run

_OVERRIDE = "optimized_attention_override"


class Inside:
    """What the attention of one running block is to add, made by its BlockPatch.

    `injections`: (Injection, its bank's index of the block). The tokens are `text` of the prompt, then `picture` of the
    picture; `pe` is the rotation of all. `aside` [B,N,C]: what is to be added to the picture after the block, or None.
    """

    def __init__(
        self, key: tuple, injections: list[tuple[Injection, int]], text: int, picture: int, here: Here,
        pe: torch.Tensor, run: Run,
    ):  # fmt: skip
        self.key, self.injections, self.text, self.picture = key, injections, text, picture
        self.here, self.pe, self.run = here, pe, run
        self.aside: torch.Tensor | None = None

    @staticmethod
    def named(key: tuple) -> tuple:
        """The name of a block's attention in Run.fired; the block itself goes by its key."""
        return ("inside", *key)

    def add(self, q: torch.Tensor, out: torch.Tensor, options: dict):
        """Add to out [B,L,heads*D] what queries q [B,heads,L,D], rotated, find in the injections."""
        self.run.fired.add(self.named(self.key))
        whole = (
            self.key[0] != "double_block"
        )  # a single block's prompt and picture have one stream and one set of layers
        for injection, index in self.injections:
            if not injection.works(options, self.run):
                continue
            is_aside = injection.patcher.model.sites[index].where == ASIDE
            start = 0 if whole and not is_aside else self.text
            end = self.text + self.picture
            here = self.here._replace(heads=q.shape[1], text=self.text - start)
            queries = _unrotated(q[:, :, start:end], self.pe[:, :, start:end]).transpose(1, 2).flatten(2)
            added = injection.residual(index, queries, queries, here, options, self.run)
            if added is None:
                continue
            if is_aside:
                self.aside = added if self.aside is None else self.aside + added
            else:
                out[:, start:end] += added


class Override:
    """The override: what another pack had there (`before`), then what the running block wants added. Immutable."""

    __slots__ = ("before",)

    def __init__(self, before: Callable | None):
        self.before = before

    def __deepcopy__(self, memo):
        return self

    def __call__(self, func: Callable, q: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        options = kwargs.get("transformer_options") or {}
        inside = options.get(keys.BLOCK)
        out = func(q, *args, **kwargs) if self.before is None else self.before(func, q, *args, **kwargs)
        if inside is not None:
            inside.add(q, out, options)
        return out


def take_attention(model: ModelPatcher):
    """Put our override on `model`, a clone of the caller's own, around whatever is there."""
    options = model.model_options["transformer_options"]
    if not isinstance(options.get(_OVERRIDE), Override):
        options[_OVERRIDE] = Override(options.get(_OVERRIDE))


def _unrotated(q: torch.Tensor, pe: torch.Tensor) -> torch.Tensor:
    """Queries [B,heads,N,D] before the rotation pe [B,1,N,D/2,2,2], by its transpose."""
    pairs = q.to(pe.dtype).unflatten(-1, (-1, 1, 2)).transpose(-1, -2)  # [B,heads,N,D/2,2,1]
    return (pe * pairs).sum(-2).flatten(-2).to(q.dtype)
