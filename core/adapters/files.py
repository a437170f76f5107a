"""What reading an adapter's file takes besides its tensors."""

import torch

from .base import LoRA
from .sites import Tensors


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
