"""What reading an adapter's file takes besides its tensors."""

from collections import Counter

import torch

from ..weights import WeightFile, WeightsError
from .base import AdapterSpec, LoRA
from .sites import Tensors

_LEVELS = {16: [5, 5, 6], 70: [10, 60]}  # sites of SD1.5 and of SDXL: how many there are of each width, fewest first
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
    if count and levels != _LEVELS.get(count) and not own:
        raise WeightsError(
            f"{file.name} is incomplete or damaged; its {count} attention sites fit neither SD1.5 nor SDXL in number "
            "and width; fetch it again."
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
