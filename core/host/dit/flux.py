"""A transformer of FLUX's build as the rest of the pack sees it (foundation.ModelKind): FLUX.1 of every kind, Chroma.

Its sites are its blocks, the double ones first.
"""

from collections.abc import Iterable, Sequence

from comfy.ldm.chroma.model import Chroma
from comfy.ldm.flux.model import Flux as FluxModel
from comfy.model_patcher import ModelPatcher

from ...adapters.bases import FLUX, base_of
from ...adapters.weight_types import block_factors
from ...attention.transformer import InsideNormed
from ..sampling.injection import Injection, SharedKeys, Site
from .blocks import inject, read_maps, share_keys


class Flux:
    """The transformer under a MODEL. FLUX.1 and Chroma have 19 double and 38 single blocks."""

    noun = "blocks"

    def __init__(self, model: ModelPatcher):
        transformer = model.get_model_object("diffusion_model")
        self._is_chroma = isinstance(transformer, Chroma)
        self._is_second = getattr(transformer.params, "global_modulation", False)  # FLUX.2
        self._patch, self._heads = transformer.patch_size, transformer.params.num_heads
        width, text = transformer.hidden_size, transformer.params.context_in_dim
        blocks = [("double_block", i) for i in range(len(transformer.double_blocks))]
        blocks += [("single_block", i) for i in range(len(transformer.single_blocks))]
        self.sites = [Site(key, width, text, order) for order, key in enumerate(blocks)]
        self._base = base_of(len(self.sites)) or FLUX  # of another of this build nobody knows more

    @classmethod
    def is_under(cls, model: ModelPatcher) -> bool:
        # The very classes: those made from them draw in another way.
        return type(model.get_model_object("diffusion_model")) in (FluxModel, Chroma)

    @property
    def text_width(self) -> int:
        return self.sites[0].context

    @property
    def name(self) -> str:
        if self._is_chroma:
            return "Chroma"
        if self._is_second:
            return "FLUX.2"
        return self._base.name if len(self.sites) == self._base.blocks else "a model of FLUX's build"

    def factors(self, weight_type: str) -> list[float]:
        return block_factors(weight_type, [site.kind for site in self.sites])

    def inject(
        self, patched: ModelPatcher, injection: Injection, layers: ModelPatcher | None, sites: Sequence[tuple[int, int]]
    ) -> frozenset:
        at = [(index, self.sites[number]) for index, number in sites]
        for site in injection.patcher.model.sites:
            if isinstance(site, InsideNormed):
                site.settle(self._heads)
        return inject(patched, injection, layers, at, self._patch)

    def share_keys(self, patched: ModelPatcher, sites: Iterable[tuple]) -> frozenset:
        return share_keys(patched, sites, self._patch)

    def cured_keys(self) -> SharedKeys:
        count = round(self._base.key_share * len(self.sites))
        return SharedKeys(frozenset(site.key for site in self.sites[-count:]), self._base.key_bias)

    def read_maps(self, patched: ModelPatcher):
        if self._is_second:
            raise ValueError(
                "AttributeCure's mode freecure does not know where the words of a prompt are in FLUX.2; choose the "
                "mode noise_blend."
            )
        # The middle third of those, where layers are most about what is where. Nobody has measured that.
        double = [site.key for site in self.sites if site.kind == "double_block"]
        read_maps(patched, double[len(double) // 3 : -(len(double) // 3)], self._patch)

    def routed_people(self, model: ModelPatcher) -> int:
        return 0

    def is_patched(self, model: ModelPatcher) -> bool:
        taken = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
        return any(key in taken for key in (site.key for site in self.sites))

    def weight_name(self, site: int, attention: str, part: str) -> str:
        raise ValueError("A LoRA by attention sites is for U-Nets; it has no place in a transformer.")
