"""Which layers of a U-Net the cure reads and writes: for attention maps, for extra keys."""

from dataclasses import dataclass

from .sites import attention_sites

_SD15, _SDXL = 16, 70  # number of cross-attention sites
# FreeCure's layers for maps have 32 tokens a side: cells of the latent per token, at the size a model was made for.
_MAP_SCALES = {_SD15: (2,), _SDXL: (4,)}
_SMALL_SCALES = (1, 2)  # of a U-Net made for small latents, which has no such layers
# FreeCure's released settings for keys: the last 20 of SDXL's 70 transformers, the last 6 of SD1.5's 16.
_EXTRA_KEY_SHARE = {_SDXL: 20 / 70}
_BIAS = {_SDXL: 1.5}
_SHARE, _SMALL_BIAS = 6 / 16, 0.5


@dataclass(frozen=True)
class ExtraKeyLayers:
    """Self-attentions that see extra keys, by ComfyUI's ("input" | "middle" | "output", block, transformer), and the
    bias on the logits of these keys."""

    sites: frozenset
    bias: float


def extra_key_layers(model) -> ExtraKeyLayers:
    """Those of a MODEL; ValueError for one that is not a U-Net."""
    sites = sorted(attention_sites(model), key=lambda site: (site.order, site.key[2]))
    count = len(sites)
    seen = round(_EXTRA_KEY_SHARE.get(count, _SHARE) * count)
    return ExtraKeyLayers(frozenset(site.key for site in sites[count - seen :]), _BIAS.get(count, _SMALL_BIAS))


def map_scales(model) -> tuple[int, ...]:
    """Cells of the latent per token of the layers whose attention maps count; ValueError for what is not a U-Net."""
    return _MAP_SCALES.get(len(attention_sites(model)), _SMALL_SCALES)
