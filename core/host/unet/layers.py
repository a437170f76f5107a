"""Which layers of a U-Net the cure reads and writes: for maps, for features, for extra keys."""

from dataclasses import dataclass

from ...cure import CureSettings
from .sites import attention_sites

_SD15, _SDXL = 16, 70  # number of cross-attention sites
# Cells of the latent per token where a side has 16 or 32 tokens at the size that the model was made for.
_MAP_SCALES = {_SD15: (2, 4), _SDXL: (4,)}
_SMALL_SCALES = (1, 2)  # of a U-Net made for small latents
# FreeCure's released settings: the last 20 of SDXL's 70 transformers, the last 6 of SD1.5's 16.
_EXTRA_KEY_SHARE = {_SDXL: 20 / 70}
_BIAS = {_SDXL: 1.5}
_SHARE, _SMALL_BIAS = 6 / 16, 0.5


@dataclass(frozen=True)
class CureLayers:
    """Keys are ComfyUI's ("input" | "middle" | "output", block, transformer)."""

    map_blocks: tuple[str, ...]
    map_scales: tuple[int, ...]
    extra_keys: frozenset
    bias: float

    def reads_map(self, options: dict) -> bool:
        """Whether the cross-attention that is running now is one whose maps count."""
        return options["block"][0] in self.map_blocks and scale_of(options) in self.map_scales

    def reads_features(self, options: dict) -> bool:
        """Whether the self-attention running now gives features: the later ones of the way up, at the finest scale."""
        return options["block"][0] == "output" and scale_of(options) == self.map_scales[0]


def cure_layers(model, settings: CureSettings) -> CureLayers:
    """The layers for a MODEL; ValueError for one that is not a U-Net."""
    sites = sorted(attention_sites(model), key=lambda site: (site.order, site.key[2]))
    count = len(sites)
    share = _EXTRA_KEY_SHARE.get(count, _SHARE) if settings.extra_key_layers is None else settings.extra_key_layers
    seen = round(share * count)
    return CureLayers(
        settings.map_blocks,
        settings.map_scales or _MAP_SCALES.get(count, _SMALL_SCALES),
        frozenset(site.key for site in sites[count - seen :]),
        _BIAS.get(count, _SMALL_BIAS) if settings.bias is None else settings.bias,
    )


def scale_of(options: dict) -> int:
    """Cells of the latent per token of the layer that is running."""
    return round(options["original_shape"][-1] / options["activations_shape"][-1])


def running_key(options: dict) -> tuple[str, int, int]:
    """The key of the transformer that is running."""
    return (*options["block"], options["block_index"])
