"""IResNet, the network of ArcFace and AdaFace, with its normalisations folded into its convolutions.

Deng, Guo, Xue, Zafeiriou: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (2019), the improved
residual unit BN-Conv-BN-PReLU-Conv-BN of section 3.1. The first normalisation of a unit stays: the zeros around its
result are zeros to the convolution, which no folded bias could give.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....layer_types import Device, Dtype, LayerArgs, Operations
from ...layers import PReLU

CHIP_SIZE, DIM = 112, 512
WIDTHS = (64, 128, 256, 512)
# residual units per stage -> convolutions in the published name, of which AdaFace calls the largest 101
DEPTHS: dict[tuple[int, ...], int] = {
    (2, 2, 2, 2): 18,
    (3, 4, 6, 3): 34,
    (3, 4, 14, 3): 50,
    (3, 13, 30, 3): 100,
    (6, 26, 60, 6): 200,
}
_SQUEEZE = 16  # channels of a unit for each of its squeezed ones
_CELLS = (CHIP_SIZE // 2 ** len(WIDTHS)) ** 2  # of the last feature map


class Affine(nn.Module):
    """x * weight + bias per channel, following its input, since ComfyUI's operations have no such layer to cast."""

    def __init__(self, channels: int, device: Device = None, dtype: Dtype = None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias.to(x)[:, None, None], x, self.weight.to(x)[:, None, None])


class Unit(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution or every `stride`-th pixel.

    [N, C, h, w] -> [N, C', h / stride, w / stride].
    """

    def __init__(
        self, before: int, after: int, stride: int, project: bool, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.norm = Affine(before, **place)
        self.conv1 = operations.Conv2d(before, after, 3, 1, 1, **place)
        self.prelu = PReLU(after, **place)
        self.conv2 = operations.Conv2d(after, after, 3, stride, 1, **place)
        self.shortcut = operations.Conv2d(before, after, 1, stride, **place) if project else None
        self.stride = stride

    def branch(self, x: Tensor) -> Tensor:
        """What goes beside the shortcut."""
        return self.conv2(self.prelu(self.conv1(self.norm(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.branch(x) + (x[:, :, :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(x))


class SEUnit(Unit):
    """An IResNet's unit that weighs its channels by what they are in the mean (squeeze and excitation, Hu et al.)."""

    def __init__(
        self, before: int, after: int, stride: int, project: bool, squeezed: int, device: Device = None,
        dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__(before, after, stride, project, device, dtype, operations)
        self.fc1 = operations.Conv2d(after, squeezed, 1, bias=False, device=device, dtype=dtype)
        self.fc2 = operations.Conv2d(squeezed, after, 1, bias=False, device=device, dtype=dtype)

    def branch(self, x: Tensor) -> Tensor:
        x = super().branch(x)
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class IResNet(nn.Module):
    """Chips [N, 3, 112, 112] RGB in 0..1 -> descriptors [N, 512] float32, not normalised.

    depths: units per stage, each stage halving the size. project_first: the first stage, whose number of channels stays
    64, has a convolution on its first shortcut as well, as ArcFace's has and AdaFace's has not. squeezes: its units are
    SEUnits.
    """

    def __init__(
        self, depths: tuple[int, ...], project_first: bool, squeezes: bool = False, device: Device = None,
        dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.depths = depths
        self.conv = operations.Conv2d(3, WIDTHS[0], 3, 1, 1, **place)
        self.prelu = PReLU(WIDTHS[0], **place)
        units: list[Unit] = []
        before = WIDTHS[0]
        for depth, width in zip(depths, WIDTHS, strict=True):
            for number in range(depth):
                project = number == 0 and (before != width or project_first)
                sizes = before, width, 2 if number == 0 else 1, project
                if squeezes:
                    units.append(SEUnit(*sizes, width // _SQUEEZE, operations=operations, **place))
                else:
                    units.append(Unit(*sizes, operations=operations, **place))
                before = width
        self.units = nn.Sequential(*units)
        self.fc = operations.Linear(WIDTHS[-1] * _CELLS, DIM, **place)

    def stages(self, chips: Tensor) -> list[Tensor]:
        """The feature maps [N, WIDTHS[i], h, w] that each stage ends with, h = w = 56, 28, 14, 7."""
        # channels last, in which the pixelwise steps between the convolutions take a third of the time on a CPU
        x = self.prelu(self.conv((chips * 2 - 1).to(self.conv.weight.dtype, memory_format=torch.channels_last)))
        maps, first = [], 0
        for depth in self.depths:
            x = self.units[first : first + depth](x)
            maps.append(x)
            first += depth
        return maps

    def forward(self, chips: Tensor) -> Tensor:
        return self.fc(self.stages(chips)[-1].flatten(1)).float()
