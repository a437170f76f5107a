"""Filling an IResNet from a state dict, whatever its project calls the layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....layer_types import Device, Dtype, Operations
from ....weights import WeightsError, fill, fitting
from .folding import Folder, after
from .iresnet import DEPTHS, WIDTHS, IResNet

_EPSILON = 1e-5


@dataclass(frozen=True)
class Layout:
    """What a project calls the layers of an IResNet, in the order in which they run; units have their name in front.

    kind: in words, with the article. stem: convolution, normalisation, PReLU. unit: normalisation, convolution,
    normalisation (None: there is none), PReLU, convolution, normalisation. shortcut: convolution, normalisation. head:
    normalisation, dense layer, normalisation. head_affine: whether the very last has weight and bias. project_first:
    see IResNet. blue_first: whether the network takes BGR. squeeze: the two layers of a unit's squeeze and excitation,
    if it has any.
    """

    kind: str
    stem: tuple[str, str, str]
    unit: tuple[str, str, str | None, str, str, str]
    shortcut: tuple[str, str]
    head: tuple[str, str, str]
    head_affine: bool
    project_first: bool
    blue_first: bool
    squeeze: tuple[str, ...] = ()


def read_iresnet(
    tensors: Mapping[str, Tensor], stages: list[list[str]], layout: Layout, name: str, device: Device, dtype: Dtype,
    operations: Operations,
) -> IResNet:  # fmt: skip
    """The network in eval mode without gradients, in float32 if `dtype` is None.

    tensors: a state dict with no other tensors; stages: names of the units of each stage; name: the file's, for
    messages. Raises WeightsError with one sentence where tensors are missing, too many, odd, or of no known depth.
    """
    depths = tuple(len(units) for units in stages)
    if depths not in DEPTHS:
        raise WeightsError(
            f"{name} looks like {layout.kind} but its stages have {', '.join(map(str, depths))} residual units, which "
            "no published one has; fetch it again or choose another file."
        )
    with fitting(name):
        folder = Folder(tensors, _EPSILON)
        _stem(folder, layout)
        _units(folder, layout, stages)
        _head(folder, layout)
        network = IResNet(depths, layout.project_first, bool(layout.squeeze), device, dtype, operations)
        fill(network, folder.folded | folder.left, name, layout.kind)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _stem(folder, layout):
    convolution, norm, prelu = layout.stem
    folder.layer(convolution, norm, "conv")
    if layout.blue_first:
        folder.folded["conv.weight"] = folder.folded["conv.weight"].flip(1)
    folder.folded["prelu.weight"] = folder.take(f"{prelu}.weight").float()


def _units(folder, layout, stages):
    place, before = 0, WIDTHS[0]
    for units, width in zip(stages, WIDTHS, strict=True):
        for number, unit in enumerate(units):
            norm1, conv1, norm2, prelu, conv2, norm3 = (part and f"{unit}.{part}" for part in layout.unit)
            ours = f"units.{place}"
            folder.put(f"{ours}.norm", *folder.norm(norm1))
            folder.layer(conv1, norm2, f"{ours}.conv1")
            folder.folded[f"{ours}.prelu.weight"] = folder.take(f"{prelu}.weight").float()
            folder.layer(conv2, norm3, f"{ours}.conv2")
            for mine, part in zip(("fc1", "fc2"), layout.squeeze, strict=False):
                folder.folded[f"{ours}.{mine}.weight"] = folder.take(f"{unit}.{part}.weight").float()
            if number == 0 and (before != width or layout.project_first):
                folder.layer(*(f"{unit}.{part}" for part in layout.shortcut), f"{ours}.shortcut")
            place, before = place + 1, width


def _head(folder, layout):
    norm1, dense, norm2 = layout.head
    scale, shift = folder.norm(norm1)
    weight, bias = folder.take(f"{dense}.weight"), folder.take(f"{dense}.bias")
    # the dense layer sees every channel once per cell of the last feature map
    cells = weight.unflatten(1, (len(scale), -1))
    bias = bias + (cells.sum(2) * shift).sum(1)
    weight = (cells * scale[:, None]).flatten(1)
    folder.put("fc", *after(weight, bias, *folder.norm(norm2, layout.head_affine)))
