"""Every face descriptor that is published as a PyTorch state dict, behind one function."""

from dataclasses import dataclass

from torch import nn

from ..weights import WeightFile, WeightsError, finite, kind_of
from . import adaface, arcface, facenet, facenet_networks, iresnet
from .templates import arcface_template


@dataclass(frozen=True)
class Descriptor:
    """A network that describes faces, and what it must be shown.

    module: chips [N, 3, chip_size, chip_size] RGB in 0..1 -> [N, dim] float32, not normalised. kind: "facenet",
    "adaface" or "arcface". title: what it is, for messages. template: five (x, y) points in chip pixels that the
    landmarks go to, or None when the box is cut out instead; both as FaceEncoder takes it.
    """

    module: nn.Module
    kind: str
    title: str
    dim: int
    chip_size: int
    template: tuple[tuple[float, float], ...] | None


def load_descriptor(file: WeightFile, device=None, dtype=None, operations=nn) -> Descriptor:
    """The descriptor that a file holds, in eval mode without gradients and in float32 if `dtype` is None.

    Recognised by keys and shapes. Raises WeightsError with one sentence when the file is of another kind, incomplete or
    of odd shapes.
    """
    tensors, place = file.tensors, (file.name, device, dtype, operations)
    if facenet.recognise(tensors):
        module, people = finite(facenet.load_facenet(tensors, *place), file.name), facenet.data_set(tensors)
        title = f"FaceNet trained on {people}" if people else "FaceNet"
        return Descriptor(module, "facenet", title, facenet_networks.DIM, facenet_networks.CHIP_SIZE, None)
    if adaface.recognise(tensors):
        return _iresnet(finite(adaface.load_adaface(tensors, *place), file.name), "adaface")
    if arcface.recognise(tensors):
        return _iresnet(finite(arcface.load_arcface(tensors, *place), file.name), "arcface")
    raise WeightsError(
        f"{file.name} is {kind_of(tensors)}, and a face descriptor must be a FaceNet, AdaFace or ArcFace IResNet state "
        "dict; choose one of these."
    )


def _iresnet(module, kind):
    layers = iresnet.DEPTHS[module.depths]
    title = f"AdaFace IR-{101 if layers == 100 else layers}" if kind == "adaface" else f"ArcFace IResNet-{layers}"
    return Descriptor(module, kind, title, iresnet.DIM, iresnet.CHIP_SIZE, arcface_template(iresnet.CHIP_SIZE))
