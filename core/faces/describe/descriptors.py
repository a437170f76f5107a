"""What every face descriptor is, and those that are published as PyTorch state dicts, behind one function."""

from dataclasses import dataclass

from torch import nn

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightFile, WeightsError, finite, kind_of
from ..align.alignment import Alignment
from ..align.alignment import arcface as arcface_aligned
from ..align.boxes import Boxes
from ..align.ffhq import FFHQ
from . import adaface, arcface, curricularface, e4e, facenet, ir_se50, transface
from .networks import inception_resnet as facenet_networks
from .networks import iresnet


@dataclass(frozen=True)
class Descriptor:
    """A network that describes faces, and what it must be shown.

    module: chips as `alignment` cuts them -> [N, dim] float32, not normalised. kind: what it is or where it comes from,
    for the name of its space.
    """

    module: nn.Module
    kind: str
    dim: int
    alignment: Alignment


def load_descriptor(
    file: WeightFile, device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> Descriptor:
    """The descriptor that a file holds, in eval mode without gradients and in float32 if `dtype` is None.

    Recognised by keys and shapes. Raises WeightsError with one sentence when the file is of another kind, incomplete or
    of odd shapes.
    """
    tensors, place = file.tensors, (file.name, device, dtype, operations)
    if facenet.recognise(tensors):
        module, size = finite(facenet.load_facenet(tensors, *place), file.name), facenet_networks.CHIP_SIZE
        return Descriptor(module, "facenet", facenet_networks.DIM, Boxes(size))
    if curricularface.recognise(tensors, file.name):
        curricular = finite(curricularface.load_curricularface(tensors, *place), file.name)
        alignment = arcface_aligned(curricularface.CHIP_SIZE)
        return Descriptor(curricular, curricularface.KIND, curricularface.DIM, alignment)
    if adaface.recognise(tensors):
        return _iresnet(finite(adaface.load_adaface(tensors, *place), file.name), "adaface")
    if arcface.recognise(tensors):
        return _iresnet(finite(arcface.load_arcface(tensors, *place), file.name), "arcface")
    if ir_se50.recognise(tensors):
        return _iresnet(finite(ir_se50.load_ir_se50(tensors, *place), file.name), ir_se50.KIND)
    if e4e.recognise(tensors):
        codes = finite(e4e.load_e4e(tensors, file.metadata, *place), file.name)
        return Descriptor(codes, "e4e", codes.mean.numel(), FFHQ(e4e.CHIP_SIZE))
    if transface.recognise(tensors):
        patches = finite(transface.load_transface(tensors, *place), file.name)
        return Descriptor(patches, "transface", patches.pos_embed.numel(), arcface_aligned(transface.CHIP_SIZE))
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and a face descriptor must be a FaceNet, AdaFace, CurricularFace, ArcFace "
        "IResNet, ArcFace IR-SE50, e4e or TransFace state dict; choose one of these."
    )


def _iresnet(module, kind):
    return Descriptor(module, kind, iresnet.DIM, arcface_aligned(iresnet.CHIP_SIZE))
