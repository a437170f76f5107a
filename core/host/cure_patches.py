"""What the cure puts into a U-Net beside extra keys: readers of cross-attention maps and of features."""

from ..cure.maps import attention_maps
from .cure_layers import CureLayers, running_key
from .cure_run import CureRun
from .extra_keys import conditional_chunks, token_grid, uuids_of
from .sites import attention_modules
from .twins import KEY


class _Reader:
    """A patch that looks at conditional rows on their way into an attention and changes nothing. Immutable."""

    def __init__(self, layers: CureLayers):
        self.layers = layers

    def __deepcopy__(self, memo):
        return self

    def __call__(self, n, context, value, options):
        run = options.get(KEY)
        if run is not None and run.collects and self._wanted(options):
            size, uuids = token_grid(options, n.shape[1]), uuids_of(options)
            grid = tuple(options["original_shape"][-2:])
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
