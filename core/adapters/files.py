"""What reading an adapter's file takes besides its tensors."""

from collections import Counter

import torch

from ..weights import WeightFile, WeightsError
from .base import AdapterSpec, LoRA
from .sites import Tensors

_SITES = (16, 70)
_SD15_LEVELS = [5, 5, 6]  # sites of one width, two on the way down and three up, and the middle's
_LORA_LAYERS = 8  # q, k, v and out of the self-attention and of the cross-attention at a site


def copied(lora: LoRA) -> LoRA:
    """The LoRA with tensors of its own: those of a file may be mapped from it, and change when it does."""
    return LoRA(
        {key: tuple(tensor.clone() for tensor in pair) for key, pair in lora.by_site.items()},
        {key: tensor.clone() for key, tensor in lora.by_name.items()},
    )


def widest_dtype(tensors: Tensors) -> torch.dtype:
    """The dtype that holds every tensor's numbers."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return max(dtypes, key=lambda dtype: (dtype.is_floating_point, dtype.itemsize))


def check_whole(spec: AdapterSpec, lora: LoRA, file: WeightFile):
    """WeightsError when whole sites are missing at the end, which leave no gap in the numbers, or a LoRA is odd."""
    count, levels = len(spec.site_widths), sorted(Counter(spec.site_widths).values())
    own = any(key.startswith("likeness.") for key in file.metadata)  # made for a model of our own, such as Facelets
    if count and count not in _SITES and not own:
        raise WeightsError(
            f"{file.name} has {count} attention sites, but SD1.5 has {_SITES[0]} and SDXL {_SITES[1]}; it is "
            "incomplete, so fetch it again."
        )
    if count == _SITES[0] and levels != _SD15_LEVELS and not own:
        raise WeightsError(
            f"{file.name} has {count} attention sites, but not of SD1.5's widths; it is damaged or SDXL's, cut off; "
            "fetch it again."
        )
    layers, expected = len(lora.by_site), _LORA_LAYERS * count
    if layers not in (0, expected):
        raise WeightsError(
            f"{file.name} is incomplete: its LoRA has {layers} layers where {expected} belong; fetch it again."
        )
    for (index, attention, part), (down, up) in lora.by_site.items():
        width = spec.site_widths[index]
        takes = spec.token_dim if attention == "attn2" and part in ("to_k", "to_v") else width
        if (down.shape[1], up.shape[0]) != (takes, width):
            raise RuntimeError(f"the LoRA layer of {part} at site {index} has another size than the site")
