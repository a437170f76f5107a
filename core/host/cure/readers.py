"""What the cure puts into a U-Net beside extra keys: readers of cross-attention maps and of features."""

from ...cure.maps import attention_maps
from .. import keys
from ..sampling.rows import rows_of
from ..unet.layers import CureLayers, running_key
from ..unet.self_attention import token_grid
from ..unet.sites import attention_modules
from .run import CureRun


class _Reader:
    """A patch that looks at conditional rows on their way into an attention and changes nothing. Immutable."""

    def __init__(self, layers: CureLayers):
        self.layers = layers

    def __deepcopy__(self, memo):
        return self

    def __call__(self, n, context, value, options):
        run = options.get(keys.TWINS)
        if run is not None and run.collects and self._wanted(options):
            size, rows = token_grid(options, n.shape[1]), rows_of(options, n.shape[0])
            for personal in (False, True) if self._reads_personal(run) else (False,):
                for index in rows.conditional(not personal) if size is not None and rows.places else ():
                    if rows.places[index].tile is None:
                        self._read(run, n.split(rows.size)[index], options, size, rows.places[index], personal)
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

    def _read(self, run: CureRun, rows, options, size, place, personal):
        key = running_key(options)
        module = self._modules[key]
        if key not in run.text_keys:
            run.text_keys[key] = module.to_k(run.plan.context.to(rows))
        maps = attention_maps(module.to_q(rows), run.text_keys[key], run.select(rows.device), options["n_heads"])
        run.add_maps(maps, size, place, personal)


class FeatureReader(_Reader):
    """Before self-attentions: what the foundation's rows look like there, for clustering."""

    def _wanted(self, options):
        return self.layers.reads_features(options)

    def _reads_personal(self, run):
        return False

    def _read(self, run: CureRun, rows, options, size, place, personal):
        run.add_features(rows, size, place)
