"""CurricularFace as UniPortrait looks through it: what the stages of its network see, not the vector at its end.

Huang et al.: "CurricularFace: Adaptive Curriculum Learning Loss for Deep Face Recognition" (2020); the IR-101 that
UniPortrait (He, Geng, Bo 2024) publishes as `glint360k_curricular_face_r101_backbone.bin`. Keys and shapes are those
of AdaFace's IR-101, but it takes RGB.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ...weights import is_bare_ir101
from . import adaface
from .networks import iresnet
from .networks.iresnet import IResNet
from .networks.iresnet_reading import read_iresnet

KIND = "curricularface"
CHIP_SIZE = 224
GRID = 16  # side of CLIP's patches, to which the early features are brought
CELLS, PATCHES = (iresnet.CHIP_SIZE // 16) ** 2, GRID**2
INTRINSIC, EARLY = iresnet.WIDTHS[-1], sum(iresnet.WIDTHS[:-1])
DIM = CELLS * INTRINSIC + PATCHES * EARLY
LAYOUT = replace(adaface.LAYOUT, kind="a CurricularFace state dict", blue_first=False)


def recognise(tensors: Mapping[str, Tensor], name: str = "") -> bool:
    """Whether flat tensors are the bare IR-101 that CurricularFace is published as.

    A network that somebody took out of AdaFace's checkpoint can only be told from it by the file's `name`.
    """
    return is_bare_ir101(tensors) and "adaface" not in name.lower()


class CurricularFace(nn.Module):
    """Chips [N, 3, 224, 224] RGB in 0..1 -> [N, DIM] float32: the last stage's 49 cells x 512 channels, then the three
    early stages at CLIP's 256 patches x (64 + 128 + 256) channels, each row by row and channels innermost."""

    def __init__(self, network: IResNet):
        super().__init__()
        network.fc = None  # nobody asks for the vector
        self.network = network

    def forward(self, chips: Tensor) -> Tensor:
        # the published code halves the very picture that CLIP sees
        halved = F.interpolate(chips, (iresnet.CHIP_SIZE, iresnet.CHIP_SIZE), mode="bilinear", align_corners=False)
        *early, last = (seen.float() for seen in self.network.stages(halved))
        early = [F.interpolate(seen, (GRID, GRID), mode="bilinear", align_corners=False) for seen in early]
        return torch.cat([_by_cell(last), _by_cell(torch.cat(early, 1))], 1)


def _by_cell(seen):
    return seen.flatten(2).transpose(1, 2).flatten(1)


def load_curricularface(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> CurricularFace:  # fmt: skip
    """The network that a recognised file's tensors hold, in eval mode without gradients, in float32 if `dtype` is None.

    Chips are aligned to ARCFACE_TEMPLATE at 224 pixels. Raises WeightsError with one sentence for tensors that are
    incomplete or of odd shapes.
    """
    network = read_iresnet(tensors, adaface.stages_of(tensors), LAYOUT, name, device, dtype, operations)
    return CurricularFace(network).eval()
