"""The ways to cure, and the numbers in them. Those of masks stand in masks.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """What sets a way to cure apart from others."""

    name: str
    responds: bool = False  # what the prompt brings about without the identity is added to the prediction with it
    shares_keys: bool = False  # rows with the identity see keys of rows without it
    replaces: bool = False  # the prediction without the identity takes the place of the one with it
    reads_maps: bool = False  # attributes are where attention maps say, not where predictions differ without them
    not_before: float = 0.0  # the share (0..1) of the denoising before which the picture stays as it is
    region_share: float = 1.0  # the mask's value where a face parser finds an attribute
    refine: int = 1  # fixed-point iterations in each step of the abstract pass's inversion, beyond the first


_ALL = (
    Mode("noise_blend", responds=True),
    Mode("shared_attention", shares_keys=True),
    Mode("both", responds=True, shares_keys=True),
    # FreeCure as it was first published (Cai et al. 2024, arXiv 2411.15277v1): of 50 steps all after the sixth, 0.75 of
    # the noise in parsed regions, all of it under attention maps, plain DDIM inversion.
    Mode("freecure", replaces=True, reads_maps=True, not_before=0.1, region_share=0.75, refine=0),
)
MODES = {mode.name: mode for mode in _ALL}
TRAJECTORIES = ("shared", "separate")

# Chosen on drawn portraits (benchmarks/README.md). Shares of a run's own steps count from 0, the first, to 1.
GAIN = 0.9  # how much of the response is added, at full strength and in units of the guidance
COMPARED_UNTIL, COMPARED_EVERY = 0.4, 2  # when predictions with and without the attributes are compared
PARSED_AT = 0.3  # from when on a face parser can read the expected picture
