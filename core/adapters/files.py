"""What reading an adapter's file takes besides its tensors."""

import re

import torch

from ..quoted import quoted
from ..weights import WeightFile, WeightsError
from .bases import BASES, is_whole
from .spec import AdapterSpec, LoRA, Tensors

_LORA_LAYERS = 8  # q, k, v and out of the self-attention and of the cross-attention at a site
# What DistributedDataParallel, a Lightning module and torch.compile put before a network's keys; torch.compile puts it
# before a part's as well. A full checkpoint begins with the second by rights.
_WRAPPERS = re.compile(r"^(?:(?:module|model(?!\.diffusion_model\.)|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
# Names that training scripts leave in place of the published ones.
_TRAINING_PREFIXES = (
    ("image_proj_model.", "image_proj."),
    ("adapter_modules.", "ip_adapter."),
    ("w_proj_model.", "w_proj."),
)


def published(file: WeightFile) -> dict[str, torch.Tensor]:
    """The file's tensors under the published names; WeightsError when two of them have the same one."""
    tensors = {}
    for key, tensor in file.tensors.items():
        name = _WRAPPERS.sub("", key)
        for training, ours in _TRAINING_PREFIXES:
            if name.startswith(training):
                name = ours + name[len(training) :]
        if name in tensors:
            raise WeightsError(
                f"{file.name} holds {quoted(name)} twice, the second time as {quoted(key)}, so that nobody knows which "
                "of both is meant; use a file that holds one of them, as its author published it."
            )
        tensors[name] = tensor
    return tensors


def copied(lora: LoRA) -> LoRA:
    """The LoRA with tensors of its own: those of a file may be mapped from it, and change when it does."""
    return LoRA(
        {key: (down.clone(), up.clone()) for key, (down, up) in lora.by_site.items()},
        {key: tensor.clone() for key, tensor in lora.by_name.items()},
    )


def widest_dtype(tensors: Tensors) -> torch.dtype:
    """The dtype that holds every tensor's numbers."""
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return max(dtypes, key=lambda dtype: (dtype.is_floating_point, dtype.itemsize))


def check_whole(spec: AdapterSpec, lora: LoRA, file: WeightFile) -> None:
    """WeightsError when whole sites are missing at the end, which leave no gap in the numbers, or a LoRA is odd."""
    count = len(spec.site_widths)
    if spec.places and count != len(spec.places):
        raise WeightsError(
            f"{file.name} is incomplete or damaged; it has something for {count} blocks of {spec.base}, where "
            f"{len(spec.places)} belong; fetch it again."
        )
    fitting = BASES if spec.of is None else (spec.of,)
    if count and not spec.places and not is_whole(spec.site_widths, fitting):
        known = ", ".join(f"{base.name} ({len(base.site_widths)})" for base in fitting)
        raise WeightsError(
            f"{file.name} is incomplete or damaged; in number and width its {count} attention sites fit none of "
            f"{known}; fetch it again."
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
