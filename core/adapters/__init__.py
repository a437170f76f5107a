"""Checkpoint families of identity adapters, one file each; `load_adapter` finds the family from keys and shapes."""

from torch import nn

from ..weights import WeightFile, WeightsError, fill, fitting, kind_of
from . import instantid
from .base import AdapterSpec, IDAdapter, base_name

# (recognise, module class) of every family; the first that recognises a file has it.
_FAMILIES = ((instantid.recognise, instantid.InstantID),)
# Names that training scripts leave in place of the published ones.
_TRAINING_PREFIXES = (("module.", ""), ("image_proj_model.", "image_proj."), ("adapter_modules.", "ip_adapter."))

__all__ = ["AdapterSpec", "IDAdapter", "base_name", "load_adapter"]


def load_adapter(file: WeightFile, device=None, dtype=None, operations=nn) -> IDAdapter:
    """Build the adapter that a weight file holds; `dtype` None keeps the file's own, the widest where it has several.

    Raises WeightsError with one sentence when the file is of another kind, incomplete or of odd shapes.
    """
    tensors = {_published_key(key): tensor for key, tensor in file.tensors.items()}
    with fitting(file.name):
        spec, build = _recognise(tensors, file)
        adapter = build(spec, tensors, device=device, dtype=dtype or _widest_dtype(tensors), operations=operations)
        fill(adapter, tensors, file.name, f"an {spec.title} adapter")
    return adapter.eval().requires_grad_(False)


def _recognise(tensors, file):
    for recognise, build in _FAMILIES:
        spec = recognise(tensors, file.metadata)
        if spec is not None:
            return spec, build
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and LoadIDAdapter reads InstantID adapters; "
        "choose an InstantID ip-adapter file."
    )


def _widest_dtype(tensors):
    dtypes = {tensor.dtype for tensor in tensors.values()}
    return max(dtypes, key=lambda dtype: (dtype.is_floating_point, dtype.itemsize))


def _published_key(key):
    for training, published in _TRAINING_PREFIXES:
        if key.startswith(training):
            key = published + key[len(training) :]
    return key
