"""The foundation models that adapters are made for: the one table of them, and how one is told from its sizes.

A row needs no U-Net: FLUX's 57 blocks are 57 sites of 3072 channels, and a token of its prompt has 4096 numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, eq=False)
class Base:
    """A foundation model's sizes, and what was found out about its blocks."""

    # As artists call it.
    name: str
    # Numbers of a token of its prompt.
    text_width: int
    # Channels of each site that can take an identity, in the order of adapters' files: a U-Net's cross-attentions on
    # the way down, up and in the middle; a transformer's blocks.
    site_widths: tuple[int, ...]
    # How many blocks a weight_type gives a factor of their own: a U-Net's spatial transformers.
    blocks: int
    # Of a transformer's, the double ones, which come first.
    double: int = 0
    # What the blocks that make the composition, and those that make the style, take of an identity meant for them, by
    # their number in the order of execution; empty: nobody has found them.
    composition: Mapping[int, float] = field(default_factory=dict)
    style: Mapping[int, float] = field(default_factory=dict)
    # FreeCure's released settings. Which share of the self-attentions, the last ones, sees keys of others, and the bias
    # on the logits of these keys; as of SD1.5 where it released none, for FLUX as of SDXL. Nobody has measured those.
    key_share: float = 6 / 16
    key_bias: float = 0.5
    # Its layers for attention maps have 32 tokens a side: cells of the latent per token, at the size that the model was
    # made for. A model of small latents has no such layers.
    map_scales: tuple[int, ...] = (1, 2)


SD15 = Base(
    name="SD1.5",
    text_width=768,
    site_widths=(320,) * 2 + (640,) * 2 + (1280,) * 5 + (640,) * 3 + (320,) * 3 + (1280,),
    blocks=16,
    composition={4: 0.25, 5: 1.0},
    style=dict.fromkeys((*range(4), *range(9, 16)), 1.0),
    map_scales=(2,),
)
SD21 = replace(SD15, name="SD2.1", text_width=1024)
SDXL = Base(
    name="SDXL",
    text_width=2048,
    site_widths=(640,) * 4 + (1280,) * 50 + (640,) * 6 + (1280,) * 10,
    blocks=11,
    composition={3: 1.0},
    style={6: 1.0},
    key_share=20 / 70,
    key_bias=1.5,
    map_scales=(4,),
)
FACELETS = Base(name="Facelets", text_width=128, site_widths=(64, 128, 128, 128, 64, 64, 128), blocks=7)
FLUX = Base(
    name="FLUX", text_width=4096, site_widths=(3072,) * 57, blocks=57, double=19, key_share=20 / 70, key_bias=1.5
)
FACELETS_FLUX = replace(FLUX, name="Facelets FLUX", text_width=128, site_widths=(144,) * 9, blocks=9, double=3)
BASES = (SD15, SD21, SDXL, FLUX, FACELETS, FACELETS_FLUX)


def base_name(sites: int, text_width: int) -> str:
    """A foundation model's name, from the number of its attention sites (0: not known) and its text width."""
    fitting = (base for base in BASES if base.text_width == text_width and sites in (len(base.site_widths), 0))
    return next((base.name for base in fitting), "a model of its own kind")


def base_of(sites: int) -> Base | None:
    """The first foundation model with so many attention sites, however wide; None: there is none."""
    return next((base for base in BASES if len(base.site_widths) == sites), None)


def is_whole(site_widths: Sequence[int], among: Sequence[Base] = BASES) -> bool:
    """Whether these are the sites of one of these foundation models: as many, and the same ones as wide as each
    other."""
    return any(_levels(site_widths) == _levels(base.site_widths) for base in among)


def _levels(widths):
    """The number of the first site that is as wide, for each site."""
    return [tuple(widths).index(width) for width in widths]
