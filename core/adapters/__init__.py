"""Checkpoint families of identity adapters, one file each; `load_adapter` finds the family from keys and shapes."""

from torch import nn

from ..weights import WeightFile, WeightsError, fill, fitting, kind_of
from . import consistentid, faceid, image, instantid, masterweaver, photomaker, pulid, uniportrait, wplus
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
from .files import copied, widest_dtype
from .uniportrait_router import Router, load_router

# (recognise, module class) of every family; the first that recognises a file has it.
_FAMILIES = (
    (pulid.recognise, pulid.PuLID),
    (instantid.recognise, instantid.InstantID),
    (consistentid.recognise, consistentid.ConsistentID),  # before FaceID, whose keys it has too
    (faceid.recognise, faceid.FaceID),
    (image.recognise, image.ImageAdapter),
    (wplus.recognise, wplus.WPlus),
    (uniportrait.recognise, uniportrait.UniPortrait),
    (photomaker.recognise, photomaker.PhotoMaker),
    (masterweaver.recognise, masterweaver.MasterWeaver),
)
_KNOWN = (
    "InstantID, IP-Adapter FaceID, plain IP-Adapter, PuLID for SDXL, PhotoMaker, ConsistentID, UniPortrait, "
    "MasterWeaver and W+ files"
)
# Names that training scripts leave in place of the published ones.
_TRAINING_PREFIXES = (
    ("module.", ""),
    ("image_proj_model.", "image_proj."),
    ("adapter_modules.", "ip_adapter."),
    ("w_proj_model.", "w_proj."),
)

__all__ = [
    "AUTO", "DEFAULTS", "METHODS", "VISION", "AdapterSpec", "Choices", "Clues", "FaceInput", "IDAdapter", "LoRA",
    "Look", "Overrides", "Router", "Seen", "base_name", "load_adapter", "load_router",
]  # fmt: skip


def load_adapter(file: WeightFile, overrides: Overrides = AUTO, device=None, dtype=None, operations=nn) -> IDAdapter:
    """Build the adapter that a weight file holds; `dtype` None keeps the file's own, the widest where it has several.

    Raises WeightsError with one sentence when the file is of another kind, incomplete or of odd shapes.
    """
    tensors = {_published_key(key): tensor for key, tensor in file.tensors.items()}
    with fitting(file.name):
        spec, family = _recognise(tensors, file, overrides)
        tensors, lora = family.split(tensors)
        adapter = family(spec, tensors, device=device, dtype=dtype or widest_dtype(tensors), operations=operations)
        fill(adapter, tensors, file.name, spec.named)
        adapter.lora = copied(lora)
    return adapter.eval().requires_grad_(False)


def _recognise(tensors, file, overrides):
    clues = Clues(file.name, file.metadata, overrides)
    for recognise, family in _FAMILIES:
        spec = recognise(tensors, clues)
        if spec is not None:
            return spec, family
    raise WeightsError(f"{file.name} is {kind_of(tensors)}, and LoadIDAdapter reads {_KNOWN}; choose one of those.")


def _published_key(key):
    for training, published in _TRAINING_PREFIXES:
        if key.startswith(training):
            key = published + key[len(training) :]
    return key
