"""A U-Net as the rest of the pack sees it (foundation.ModelKind): SD1.5, SDXL and others of their build."""

from collections.abc import Iterable, Sequence

from comfy.model_patcher import ModelPatcher

from ...adapters.bases import FACELETS, base_name, base_of
from ...adapters.weight_types import block_factors
from ..sampling.injection import Injection, SharedKeys
from .cross_attention import inject
from .gates import inject_gates
from .maps import MapReader
from .routing import routed_people
from .self_attention import put_extra_keys
from .sites import attention_sites, is_unet, transformer_path

_LAYERS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}


class UNet:
    """The U-Net under a MODEL. SD1.5 has 16 sites, SDXL 70."""

    noun = "sites"

    def __init__(self, model: ModelPatcher):
        self.sites = attention_sites(model)
        self._base = base_of(len(self.sites)) or FACELETS  # of another of this build nobody knows more

    @classmethod
    def is_under(cls, model: ModelPatcher) -> bool:
        return is_unet(model)

    @property
    def text_width(self) -> int:
        return max((site.context for site in self.sites), default=0)

    @property
    def name(self) -> str:
        return base_name(len(self.sites), self.text_width)

    def factors(self, weight_type: str) -> list[float]:
        kinds = [kind for _, kind in sorted({(site.order, site.kind) for site in self.sites})]
        factors = block_factors(weight_type, kinds)
        return [factors[site.order] for site in self.sites]

    def inject(
        self, patched: ModelPatcher, injection: Injection, layers: ModelPatcher | None, sites: Sequence[tuple[int, int]]
    ) -> frozenset:
        at = [(index, self.sites[number]) for index, number in sites]
        return inject(patched, injection, at) if layers is None else inject_gates(patched, injection, layers, at)

    def share_keys(self, patched: ModelPatcher, sites: Iterable[tuple]) -> frozenset:
        return put_extra_keys(patched, sites)

    def cured_keys(self) -> SharedKeys:
        executed = sorted(self.sites, key=lambda site: (site.order, site.key[2]))
        count = round(self._base.key_share * len(executed))
        return SharedKeys(frozenset(site.key for site in executed[len(executed) - count :]), self._base.key_bias)

    def read_maps(self, patched: ModelPatcher):
        patched.set_model_attn2_patch(MapReader(patched, self._base.map_scales))

    def routed_people(self, model: ModelPatcher) -> int:
        return routed_people(model)

    def is_patched(self, model: ModelPatcher) -> bool:
        return bool(model.model_options["transformer_options"].get("patches_replace", {}).get("attn2"))

    def weight_name(self, site: int, attention: str, part: str) -> str:
        return f"{transformer_path(self.sites[site].key)}.{attention}.{_LAYERS[part]}.weight"
