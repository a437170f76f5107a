"""Checkpoint families of identity adapters, one file each; `load_adapter` finds the family from keys and shapes."""

from torch import nn

from ..weights import WeightFile, WeightsError, fill, fitting, kind_of
from . import consistentid, faceid, image, instantid, photomaker
from .base import (
    AUTO,
    DEFAULTS,
    METHODS,
    VISION,
    AdapterSpec,
    Choices,
    Clues,
    FaceInput,
    IDAdapter,
    Look,
    LoRA,
    Overrides,
    Seen,
    base_name,
)  # fmt: skip

# (recognise, module class) of every family; the first that recognises a file has it.
_FAMILIES = (
    (instantid.recognise, instantid.InstantID),
    (consistentid.recognise, consistentid.ConsistentID),  # before FaceID, whose keys it has too
    (faceid.recognise, faceid.FaceID),
    (image.recognise, image.ImageAdapter),
    (photomaker.recognise, photomaker.PhotoMaker),
)
_KNOWN = "InstantID, IP-Adapter FaceID, plain IP-Adapter, PhotoMaker and ConsistentID files"
# Names that training scripts leave in place of the published ones.
_TRAINING_PREFIXES = (("module.", ""), ("image_proj_model.", "image_proj."), ("adapter_modules.", "ip_adapter."))

__all__ = [
    "AUTO", "DEFAULTS", "METHODS", "VISION", "AdapterSpec", "Choices", "Clues", "FaceInput", "IDAdapter", "LoRA",
    "Look", "Overrides", "Seen", "base_name", "load_adapter",
]  # fmt: skip


def load_adapter(
    file: WeightFile, overrides: Overrides = AUTO, device=None, dtype=None, operations=nn
) -> IDAdapter:
    """Build the adapter that a weight file holds; `dtype` None keeps the file's own, the widest where it has several.

    Raises WeightsError with one sentence when the file is of another kind, incomplete or of odd shapes.
    """
    tensors = {_published_key(key): tensor for key, tensor in file.tensors.items()}
    with fitting(file.name):
        spec, family = _recognise(tensors, file, overrides)
        tensors, lora = family.split(tensors)
        adapter = family(spec, tensors, device=device, dtype=dtype or _widest_dtype(tensors), operations=operations)
        fill(adapter, tensors, file.name, spec.named)
        adapter.lora = _copied(lora)
    return adapter.eval().requires_grad_(False)


def _recognise(tensors, file, overrides):
    clues = Clues(file.name, file.metadata, overrides)
    for recognise, family in _FAMILIES:
        spec = recognise(tensors, clues)
        if spec is not None:
            return spec, family
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and LoadIDAdapter reads {_KNOWN}; choose one of those."
    )


def _copied(lora):
    """The LoRA with tensors of its own: those of a file may be mapped from it, and change when it does."""
    return LoRA(
        {key: tuple(tensor.clone() for tensor in pair) for key, pair in lora.by_site.items()},
        {key: tensor.clone() for key, tensor in lora.by_name.items()},
    )


def _widest_dtype(tensors):
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return max(dtypes, key=lambda dtype: (dtype.is_floating_point, dtype.itemsize))


def _published_key(key):
    for training, published in _TRAINING_PREFIXES:
        if key.startswith(training):
            key = published + key[len(training) :]
    return key
