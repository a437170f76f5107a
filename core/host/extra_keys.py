"""Self-attention in which rows with identity see the keys of their twins without it, as a patch."""

import torch
from comfy.ldm.modules.attention import optimized_attention

from ..attention import extra_key_attention
from .switch import KEY as IDENTITY_OFF
from .twins import KEY


class ExtraKeys:
    """Replacement of one self-attention: personalised conditional rows see keys of the foundation's.

    Which ones, and with what bias, is for the run to say. `run.kept(k, v, size, uuid)`: the keys and values that a
    foundation chunk of size[0] x size[1] tokens gives away, or None. `run.own(k, v, k_extra, v_extra, size, uuid)`: the
    keys and values of its twin's own, and the bias [B,E] on the others, or None. `base` is what another pack had put
    there (None: ComfyUI's own attention); all other rows go through it. Immutable.
    """

    __slots__ = ("base", "key")

    def __init__(self, key, base=None):
        self.key, self.base = key, base

    def __deepcopy__(self, memo):
        return self

    def models(self):
        return self.base.models() if hasattr(self.base, "models") else []

    def to(self, target):
        return ExtraKeys(self.key, self.base.to(target)) if hasattr(self.base, "to") else self

    def __call__(self, q, k, v, options):
        run = options.get(KEY)
        uuids = uuids_of(options)
        size = token_grid(options, q.shape[1]) if run is not None and run.gives_keys else None
        if size is None:
            return self._attention(q, k, v, options)
        grid = tuple(options["original_shape"][-2:])
        if not all(run.is_whole(uuid, grid) for uuid in uuids):
            return self._attention(q, k, v, options)
        rows = list(zip(*(t.chunk(len(uuids)) for t in (q, k, v)), strict=True))
        for index in conditional_chunks(options, without_identity=True):
            run.keys[self.key, uuids[index]] = run.kept(*rows[index][1:], size, uuids[index])
        # A foundation chunk that ComfyUI ran in a batch before has left its keys; one in this batch left them just now.
        extra = [run.keys.pop((self.key, run.twin_of[uuid]), None) if uuid in run.twin_of else None for uuid in uuids]
        if not any(extra):
            return self._attention(q, k, v, options)
        before = None if self.base is None else self.base(q, k, v, options).chunk(len(uuids))
        parts = []
        for index, ((own_q, own_k, own_v), keys) in enumerate(zip(rows, extra, strict=True)):
            if keys is not None:
                own_k, own_v, bias = run.own(own_k, own_v, *keys, size, uuids[index])
                parts.append(extra_key_attention(own_q, own_k, own_v, *keys, bias, options["n_heads"]))
            else:
                parts.append(self._attention(own_q, own_k, own_v, options) if before is None else before[index])
        return torch.cat(parts)

    def _attention(self, q, k, v, options):
        if self.base is not None:
            return self.base(q, k, v, options)
        precision = options.get("attn_precision")
        return optimized_attention(q, k, v, options["n_heads"], attn_precision=precision, transformer_options=options)


def put_extra_keys(model, keys):
    """Take the self-attentions with these keys on `model`, a clone of the caller's own, where they aren't ours yet."""
    taken = model.model_options["transformer_options"].get("patches_replace", {}).get("attn1", {})
    for key in keys:
        before = taken.get(key) or taken.get(key[:2])
        if not isinstance(before, ExtraKeys):
            model.set_model_attn1_replace(ExtraKeys(key, before), *key)


def conditional_chunks(options: dict, without_identity: bool) -> list[int]:
    """Indexes of the conditional chunks in the batch that is running: the foundation's, or the personalised ones."""
    kinds, off = options["cond_or_uncond"], options.get(IDENTITY_OFF)
    is_off = [False] * len(kinds) if off is None else off.chunks
    return [index for index, kind in enumerate(kinds) if kind == 0 and is_off[index] == without_identity]


def uuids_of(options: dict) -> list:
    """The conditioning entry of each chunk; a model wrapper that takes a batch apart loses count of them."""
    uuids, chunks = options.get("uuids", []), len(options["cond_or_uncond"])
    return uuids if len(uuids) == chunks else [None] * chunks


def token_grid(options: dict, tokens: int) -> tuple[int, int] | None:
    """(height, width) of the tokens of the layer that is running, or None where another node has merged some."""
    size = tuple(options["activations_shape"][-2:])
    return size if size[0] * size[1] == tokens else None
