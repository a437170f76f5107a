"""Inception-ResNet-v1, the network of FaceNet, with its normalisations folded into its convolutions.

Szegedy, Ioffe, Vanhoucke, Alemi: "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning"
(2016), figures 10 to 14 and the scaling of residuals of section 3.3, which is folded as well. Layers have the names of
facenet-pytorch's state dicts.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....layer_types import Device, Dtype, LayerArgs, Operations

CHIP_SIZE, DIM = 160, 512
# name of a run of residual blocks -> blocks, and how much of a branch is added
RUNS = {"repeat_1": (5, 0.17), "repeat_2": (10, 0.1), "repeat_3": (5, 0.2), "block8": (1, 1.0)}


class Layer(nn.Module):
    """A convolution and a ReLU. [N, C, h, w] -> [N, C', h', w']."""

    def __init__(
        self, before: int, after: int, kernel: int | tuple[int, int], stride: int = 1,
        padding: int | tuple[int, int] = 0, device: Device = None, dtype: Dtype = None, operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self.conv = operations.Conv2d(before, after, kernel, stride, padding, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x), inplace=True)


class Residual(nn.Module):
    """Branches side by side, joined by a 1 x 1 convolution and added to what came in; then a ReLU, if `active`."""

    def __init__(
        self, channels: int, branches: list, joined: int, active: bool, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        for number, branch in enumerate(branches):
            setattr(self, f"branch{number}", branch)
        self.branches = len(branches)
        self.conv2d = operations.Conv2d(joined, channels, 1, device=device, dtype=dtype)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2d(torch.cat([getattr(self, f"branch{number}")(x) for number in range(self.branches)], 1))
        out += x
        return F.relu(out, inplace=True) if self.active else out


class Reduction(nn.Module):
    """Branches and a max pool side by side, each halving the size. [N, C, h, w] -> [N, C', h', w']."""

    def __init__(self, branches: list[nn.Module]):
        super().__init__()
        for number, branch in enumerate(branches):
            setattr(self, f"branch{number}", branch)
        self.branches = len(branches)

    def forward(self, x: Tensor) -> Tensor:
        parts = [getattr(self, f"branch{number}")(x) for number in range(self.branches)]
        return torch.cat([*parts, F.max_pool2d(x, 3, 2)], 1)


class InceptionResnetV1(nn.Module):
    """Chips [N, 3, 160, 160] RGB in 0..1 -> descriptors [N, 512] float32, not normalised."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype, "operations": operations}

        def layer(*shape):
            return Layer(*shape, **place)

        def chain(*shapes):
            return nn.Sequential(*(layer(*shape) for shape in shapes))

        def block35():
            branches = [layer(256, 32, 1), chain((256, 32, 1), (32, 32, 3, 1, 1)),
                        chain((256, 32, 1), (32, 32, 3, 1, 1), (32, 32, 3, 1, 1))]  # fmt: skip
            return Residual(256, branches, 96, True, **place)

        def block17():
            long = chain((896, 128, 1), (128, 128, (1, 7), 1, (0, 3)), (128, 128, (7, 1), 1, (3, 0)))
            return Residual(896, [layer(896, 128, 1), long], 256, True, **place)

        def block8(active=True):
            long = chain((1792, 192, 1), (192, 192, (1, 3), 1, (0, 1)), (192, 192, (3, 1), 1, (1, 0)))
            return Residual(1792, [layer(1792, 192, 1), long], 384, active, **place)

        self.conv2d_1a = layer(3, 32, 3, 2)
        self.conv2d_2a = layer(32, 32, 3)
        self.conv2d_2b = layer(32, 64, 3, 1, 1)
        self.conv2d_3b = layer(64, 80, 1)
        self.conv2d_4a = layer(80, 192, 3)
        self.conv2d_4b = layer(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(RUNS["repeat_1"][0])))
        self.mixed_6a = Reduction([layer(256, 384, 3, 2), chain((256, 192, 1), (192, 192, 3, 1, 1), (192, 256, 3, 2))])
        self.repeat_2 = nn.Sequential(*(block17() for _ in range(RUNS["repeat_2"][0])))
        self.mixed_7a = Reduction([
            chain((896, 256, 1), (256, 384, 3, 2)), chain((896, 256, 1), (256, 256, 3, 2)),
            chain((896, 256, 1), (256, 256, 3, 1, 1), (256, 256, 3, 2)),
        ])  # fmt: skip
        self.repeat_3 = nn.Sequential(*(block8() for _ in range(RUNS["repeat_3"][0])))
        self.block8 = block8(active=False)
        self.last_linear = operations.Linear(1792, DIM, device=device, dtype=dtype)

    def forward(self, chips: Tensor) -> Tensor:
        pixels = (chips * 255 - 127.5) / 128
        # channels last, in which a CPU is faster
        x = pixels.to(self.last_linear.weight.dtype, memory_format=torch.channels_last)
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        x = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(F.max_pool2d(x, 3, 2))))
        x = self.repeat_2(self.mixed_6a(self.repeat_1(x)))
        x = self.block8(self.repeat_3(self.mixed_7a(x)))
        return self.last_linear(x.mean((2, 3))).float()
