"""Checkpoint families of identity adapters, one file each; `load_adapter` finds the family from keys and shapes."""

from dataclasses import replace

from torch import nn

from ..layer_types import Device, Dtype, Operations
from ..quoted import quoted
from ..weights import WeightFile, WeightsError, fill, fitting, is_of_no_use, kind_of, known_kind
from .bases import SDXL, base_name, base_of
from .consistentid import ConsistentID
from .faceid import FaceID
from .fact import FACT
from .family import DEFAULTS, METHODS, Choices, FaceInput, IDAdapter, Seen
from .files import check_whole, copied, published, widest_dtype
from .flux_ip import InstantX, XLabs
from .image import ImageAdapter
from .infiniteyou import InfiniteYou
from .instantid import InstantID
from .masterweaver import MasterWeaver
from .photomaker import PhotoMaker
from .pulid import PuLID
from .pulid_flux import PuLIDFlux
from .spec import AUTO, VISION, AdapterSpec, Clues, Look, LoRA, Overrides
from .uniportrait import UniPortrait
from .uniportrait_router import Router, load_router
from .weight_types import WEIGHT_TYPES
from .withanyone import WithAnyone
from .wplus import WPlus

# Every family; the first that recognises a file has it.
FAMILIES: tuple[type[IDAdapter], ...] = (
    InstantID,
    PuLID,
    PuLIDFlux,
    InfiniteYou,
    WithAnyone,
    XLabs,
    InstantX,  # before FaceID, whose keys it has too
    ConsistentID,  # likewise
    FaceID,
    ImageAdapter,
    WPlus,
    UniPortrait,
    PhotoMaker,
    MasterWeaver,
    FACT,
)

__all__ = [
    "AUTO", "DEFAULTS", "FAMILIES", "METHODS", "SDXL", "VISION", "WEIGHT_TYPES", "AdapterSpec", "Choices", "Clues",
    "FaceInput", "IDAdapter", "LoRA", "Look", "Overrides", "Router", "Seen", "base_name", "base_of",
    "describe_adapter", "load_adapter", "load_router",
]  # fmt: skip


def load_adapter(
    file: WeightFile, overrides: Overrides = AUTO, device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> IDAdapter:  # fmt: skip
    """Build the adapter that a weight file holds; `dtype` None keeps the file's own, the widest where it has several.

    Raises WeightsError with one sentence when the file is of another kind, incomplete or of odd shapes.
    """
    tensors = published(file)
    with fitting(file.name):
        spec, family = _recognise(tensors, file, overrides)
        tensors, lora = family.split(tensors)
        adapter = family(spec, tensors, device=device, dtype=dtype or widest_dtype(tensors), operations=operations)
        check_whole(spec, lora, file)
        own, spare = _parted(tensors, adapter, spec, file.name)
        fill(adapter, own, file.name, spec.named)
        adapter.lora = copied(lora)
        if spare:
            noun = "tensor" if len(spare) == 1 else "tensors"
            note = f"Left aside: {len(spare)} {noun} that it has no use for, such as {quoted(min(spare))}"
            adapter.spec = replace(spec, guesses=(*spec.guesses, note))
    return adapter.eval().requires_grad_(False)


def describe_adapter(file: WeightFile, overrides: Overrides = AUTO) -> AdapterSpec:
    """What `load_adapter` takes a file for, from its keys and shapes alone; its contents may still turn out damaged."""
    with fitting(file.name):
        spec, _ = _recognise(published(file), file, overrides)
    return spec


def _recognise(tensors, file, overrides):
    clues = Clues(file.name, file.metadata, overrides)
    for family in () if is_of_no_use(tensors) else FAMILIES:
        spec = family.recognise(tensors, clues)
        if spec is not None:
            return spec, family
    *families, last = dict.fromkeys(family.named for family in FAMILIES)
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and LoadIDAdapter reads {', '.join(families)} and {last} files; choose "
        "one of those."
    )


def _parted(tensors, adapter, spec, name):
    """The tensors under the module's own top names, and the keys of others, which training scripts leave behind.

    WeightsError when the others are something by themselves: then nobody knows which of both the file is.
    """
    tops = {key.partition(".")[0] for key in adapter.state_dict()}
    own = {key: tensor for key, tensor in tensors.items() if key.partition(".")[0] in tops}
    spare = tensors.keys() - own.keys()
    kind = known_kind({key: tensors[key] for key in spare})
    if kind is not None:
        raise WeightsError(
            f"{name} is {spec.named} mixed with {kind}; use a file that holds one of them, as its author published it."
        )
    return own, spare
