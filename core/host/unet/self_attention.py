"""Self-attention in which rows with identity see the keys of their twins without it, as a patch."""

from collections.abc import Iterable
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher

from ...attention import extra_key_attention, toward_mean
from ...sizes import height_width
from .. import keys
from ..sampling.rows import rows_of
from ..sampling.run import SELF
from ..sampling.twins import MERGED


class ExtraKeys:
    """Replacement of one self-attention: conditional rows with identity see keys of their twins'.

    Which ones, and with what bias, is for the run to say (TwinRun). `base` is what another pack had put there (None:
    ComfyUI's own attention); all other rows go through it. Immutable.
    """

    __slots__ = ("base", "key")

    def __init__(self, key, base=None):
        self.key, self.base = key, base

    def __deepcopy__(self, memo):
        return self

    def models(self) -> list[ModelPatcher]:
        return self.base.models() if hasattr(self.base, "models") else []

    def to(self, target: Any) -> "ExtraKeys":
        return ExtraKeys(self.key, self.base.to(target)) if hasattr(self.base, "to") else self

    def __call__(self, q, k, v, options):
        run = options.get(keys.TWINS)
        if keys.RUN in options:
            options[keys.RUN].fired.add((SELF, *self.key))
        if run is None or not run.gives_keys:
            return self._attention(q, k, v, options)
        size = token_grid(options, q.shape[1])
        if size is None:
            run.run.say(MERGED)
            return self._attention(q, k, v, options)
        rows = rows_of(options, q.shape[0])
        if rows.places is None:
            return self._attention(q, k, v, options)
        blocks = list(zip(*(t.split(rows.size) for t in (q, k, v)), strict=True))
        extra = run.shared_keys(self.key, rows, lambda index: blocks[index][1:], size)
        if not any(extra):
            return self._attention(q, k, v, options)
        before = None if self.base is None else self.base(q, k, v, options).split(rows.size)
        parts = []
        for index, ((own_q, own_k, own_v), given) in enumerate(zip(blocks, extra, strict=True)):
            if given is not None:
                if run.style:
                    own_k, own_v = (toward_mean(*pair, run.style) for pair in zip((own_k, own_v), given, strict=True))
                bias = run.bias(size, rows.places[index])
                parts.append(extra_key_attention(own_q, own_k, own_v, *given, bias, options["n_heads"]))
            else:
                parts.append(self._attention(own_q, own_k, own_v, options) if before is None else before[index])
        return torch.cat(parts)

    def _attention(self, q, k, v, options):
        if self.base is not None:
            return self.base(q, k, v, options)
        precision = options.get("attn_precision")
        return optimized_attention(q, k, v, options["n_heads"], attn_precision=precision, transformer_options=options)


def put_extra_keys(model: ModelPatcher, sites: Iterable[tuple]) -> frozenset:
    """Take the self-attentions at `sites` (keys) on `model`, a clone of the caller's own, where they aren't ours yet.

    Returns their names in Run.fired.
    """
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn1", {})
    for key in sites:
        before = taken.get(key) or taken.get(key[:2])
        if not isinstance(before, ExtraKeys):
            model.set_model_attn1_replace(ExtraKeys(key, before), *key)
    return frozenset((SELF, *key) for key in sites)


def token_grid(options: dict, tokens: int) -> tuple[int, int] | None:
    """(height, width) of the tokens of the layer that is running, or None where another node has merged some."""
    size = height_width(options["activations_shape"])
    return size if size[0] * size[1] == tokens else None
