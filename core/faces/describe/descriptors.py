"""What every face descriptor is, and those that are published as PyTorch state dicts, behind one function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from ...weights import WeightFile, WeightsError, finite, kind_of
from ..align.boxes import crop_boxes
from ..align.ffhq import FFHQ
from ..align.templates import arcface_template
from . import adaface, arcface, curricularface, e4e, facenet, transface
from .networks import inception_resnet as facenet_networks
from .networks import iresnet


@dataclass(frozen=True)
class Descriptor:
    """A network that describes faces, and what it must be shown.

    module: chips [N, 3, chip_size, chip_size] RGB in 0..1 -> [N, dim] float32, not normalised. kind: what it is or
    where it comes from, for the name of its space. template: five (x, y) points in chip pixels that the landmarks go
    to, or what cuts chips out otherwise; antialias: whether chips are averaged; all three as FaceEncoder takes them.
    """

    module: nn.Module
    kind: str
    dim: int
    chip_size: int
    template: tuple[tuple[float, float], ...] | Callable | str
    antialias: bool = False  # most were trained on cv2's chips


def load_descriptor(file: WeightFile, device=None, dtype=None, operations=nn) -> Descriptor:
    """The descriptor that a file holds, in eval mode without gradients and in float32 if `dtype` is None.

    Recognised by keys and shapes. Raises WeightsError with one sentence when the file is of another kind, incomplete or
    of odd shapes.
    """
    tensors, place = file.tensors, (file.name, device, dtype, operations)
    if facenet.recognise(tensors):
        module, size = finite(facenet.load_facenet(tensors, *place), file.name), facenet_networks.CHIP_SIZE
        return Descriptor(module, "facenet", facenet_networks.DIM, size, partial(crop_boxes, size=size))
    if curricularface.recognise(tensors, file.name):
        module, size = finite(curricularface.load_curricularface(tensors, *place), file.name), curricularface.CHIP_SIZE
        return Descriptor(module, curricularface.KIND, curricularface.DIM, size, arcface_template(size))
    if adaface.recognise(tensors):
        return _iresnet(finite(adaface.load_adaface(tensors, *place), file.name), "adaface")
    if arcface.recognise(tensors):
        return _iresnet(finite(arcface.load_arcface(tensors, *place), file.name), "arcface")
    if e4e.recognise(tensors):
        module = finite(e4e.load_e4e(tensors, file.metadata, *place), file.name)
        return Descriptor(module, "e4e", module.mean.numel(), e4e.CHIP_SIZE, FFHQ)
    if transface.recognise(tensors):
        module, size = finite(transface.load_transface(tensors, *place), file.name), transface.CHIP_SIZE
        return Descriptor(module, "transface", module.pos_embed.numel(), size, arcface_template(size))
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and a face descriptor must be a FaceNet, AdaFace, CurricularFace, ArcFace "
        "IResNet, e4e or TransFace state dict; choose one of these."
    )


def _iresnet(module, kind):
    return Descriptor(module, kind, iresnet.DIM, iresnet.CHIP_SIZE, arcface_template(iresnet.CHIP_SIZE))
