"""What the cure puts into a U-Net: a reader of cross-attention maps and features, and the extra keys."""

import torch
from comfy.ldm.modules.attention import optimized_attention

from ..attention import extra_key_attention
from ..cure.maps import attention_maps
from .cure_layers import CureLayers, running_key
from .cure_run import KEY, CureRun
from .sites import attention_modules
from .switch import KEY as IDENTITY_OFF


def conditional_chunks(options: dict, without_identity: bool) -> list[int]:
    """Indexes of the conditional chunks in the batch that is running: the foundation's, or the personalised ones."""
    kinds, off = options["cond_or_uncond"], options.get(IDENTITY_OFF)
    is_off = [False] * len(kinds) if off is None else off.chunks
    return [index for index, kind in enumerate(kinds) if kind == 0 and is_off[index] == without_identity]


def _uuids(options):
    """The conditioning entry of each chunk; a model wrapper that takes a batch apart loses count of them."""
    uuids, chunks = options.get("uuids", []), len(options["cond_or_uncond"])
    return uuids if len(uuids) == chunks else [None] * chunks


def _token_grid(options, tokens):
    """(height, width) of the tokens of the layer that is running, or None where another node has merged some."""
    size = tuple(options["activations_shape"][-2:])
    return size if size[0] * size[1] == tokens else None


class _Reader:
    """A patch that looks at conditional rows on their way into an attention and changes nothing. Immutable."""

    def __init__(self, layers: CureLayers):
        self.layers = layers

    def __deepcopy__(self, memo):
        return self

    def __call__(self, n, context, value, options):
        run = options.get(KEY)
        if run is not None and run.collects and self._wanted(options):
            size, uuids, grid = _token_grid(options, n.shape[1]), _uuids(options), tuple(options["original_shape"][-2:])
            for personal in (False, True) if self._reads_personal(run) else (False,):
                for index in conditional_chunks(options, not personal) if size is not None else ():
                    if run.is_whole(uuids[index], grid):
                        self._read(run, n.chunk(len(uuids))[index], options, size, grid, uuids[index], personal)
        return n, context, value


class MapReader(_Reader):
    """Before cross-attentions: the attention that rows give to the attributes' tokens.

    It computes these few queries a second time rather than taking the site, so that it never stands in the way of
    another pack's patch.
    """

    def __init__(self, layers: CureLayers, model):
        super().__init__(layers)
        self._modules = attention_modules(model)

    def _wanted(self, options):
        return self.layers.reads_map(options)

    def _reads_personal(self, run):
        return run.plan.settings.map_rows == "both"

    def _read(self, run: CureRun, rows, options, size, grid, uuid, personal):
        key = running_key(options)
        module = self._modules[key]
        if key not in run.text_keys:
            run.text_keys[key] = module.to_k(run.plan.context.to(rows))
        maps = attention_maps(module.to_q(rows), run.text_keys[key], run.select(rows.device), options["n_heads"])
        run.add_maps(maps, size, grid, uuid, personal)


class FeatureReader(_Reader):
    """Before self-attentions: what the foundation's rows look like there, for clustering."""

    def _wanted(self, options):
        return self.layers.reads_features(options)

    def _reads_personal(self, run):
        return False

    def _read(self, run: CureRun, rows, options, size, grid, uuid, personal):
        run.add_features(rows, size, grid, uuid)


class ExtraKeys:
    """Replacement of one self-attention: personalised conditional rows see the foundation's keys inside the mask.

    `base` is what another pack had put there (None: ComfyUI's own attention); all other rows go through it. Immutable.
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
        uuids = _uuids(options)
        size = _token_grid(options, q.shape[1]) if run is not None and run.gives_keys else None
        if size is None or run.mask() is None:
            return self._attention(q, k, v, options)
        grid = tuple(options["original_shape"][-2:])
        if not all(run.is_whole(uuid, grid) for uuid in uuids):
            return self._attention(q, k, v, options)
        rows = list(zip(*(t.chunk(len(uuids)) for t in (q, k, v)), strict=True))
        for index in conditional_chunks(options, without_identity=True):
            tokens, _ = run.extra_tokens(size, uuids[index])
            run.keys[self.key, uuids[index]] = tuple(_gather(t, tokens) for t in rows[index][1:])
        # A foundation chunk that ComfyUI ran in a batch before has left its keys; one in this batch left them just now.
        extra = [run.keys.pop((self.key, run.twin_of[uuid]), None) if uuid in run.twin_of else None for uuid in uuids]
        if not any(extra):
            return self._attention(q, k, v, options)
        before = None if self.base is None else self.base(q, k, v, options).chunk(len(uuids))
        parts = []
        for index, (row, keys) in enumerate(zip(rows, extra, strict=True)):
            if keys is not None:
                _, bias = run.extra_tokens(size, uuids[index])
                parts.append(extra_key_attention(*row, *keys, bias, options["n_heads"]))
            else:
                parts.append(self._attention(*row, options) if before is None else before[index])
        return torch.cat(parts)

    def _attention(self, q, k, v, options):
        if self.base is not None:
            return self.base(q, k, v, options)
        precision = options.get("attn_precision")
        return optimized_attention(q, k, v, options["n_heads"], attn_precision=precision, transformer_options=options)


def _gather(rows, index):
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))
