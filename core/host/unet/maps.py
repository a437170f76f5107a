"""A reader of cross-attention maps, as a patch."""

from comfy.model_patcher import ModelPatcher

from ...cure.maps import attention_maps
from .. import keys
from ..sampling.rows import rows_of
from .self_attention import token_grid
from .sites import attention_modules


class MapReader:
    """Looks at rows without identity on their way into cross-attentions, and changes nothing. Immutable.

    It computes these few queries a second time rather than taking the site, so that it never stands in the way of
    another pack's patch. Whether and of what it makes maps is for the run to say. `run.reads_maps`: whether it does.
    `run.words`: the prompt's words and which of them count (where.Words). `run.add_maps(maps, size, place)` gets
    maps [B,A,N] of size[0] x size[1] tokens; `place` is what they show (rows.Place).
    """

    def __init__(self, model: ModelPatcher, scales: tuple[int, ...]):
        """`scales`: cells of the latent per token of the layers whose maps count."""
        self._scales, self._modules = scales, attention_modules(model)

    def __deepcopy__(self, memo):
        return self

    def __call__(self, hidden, context, value, options):
        run = options.get(keys.TWINS)
        if run is not None and run.reads_maps and self._counts(options):
            size, rows = token_grid(options, hidden.shape[1]), rows_of(options, hidden.shape[0])
            for index in rows.conditional(without_identity=True) if size is not None and rows.places else ():
                if rows.places[index].tile is None:
                    self._read(run, hidden.split(rows.size)[index], options, size, rows.places[index])
        return hidden, context, value

    def _counts(self, options):
        scale = round(options["original_shape"][-1] / options["activations_shape"][-1])
        return options["block"][0] in ("input", "output") and scale in self._scales

    def _read(self, run, rows, options, size, place):
        site = (*options["block"], options["block_index"])
        module, words = self._modules[site], run.words
        k = words.at(site, module.to_k, rows)
        run.add_maps(attention_maps(module.to_q(rows), k, words.select(rows), options["n_heads"]), size, place)
