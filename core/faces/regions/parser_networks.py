"""The network of the face parser: a BiSeNet whose context path is a ResNet.

Yu, Wang, Peng, Gao, Yu, Sang: "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation" (2018), as
face-parsing.PyTorch trained it on CelebAMask-HQ: without a spatial path, whose place the backbone's features at an
eighth of the size take. Parameters have the names of that checkpoint. Its two auxiliary heads, `conv_out16` and
`conv_out32`, serve training only and are left out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, LayerArgs, Operations

RESNET18, RESNET34 = (2, 2, 2, 2), (3, 4, 6, 3)  # residual blocks per stage of the backbone


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d with its stored statistics, following its input, since ComfyUI's operations have none to cast."""

    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean.to(x), self.running_var.to(x)
        return F.batch_norm(x, mean, variance, self.weight.to(x), self.bias.to(x), eps=self.eps)


class ConvNorm(nn.Module):
    """A convolution that keeps the size, its normalisation and a ReLU. [B, C, h, w] -> [B, C', h, w]."""

    def __init__(
        self, before: int, after: int, kernel: int, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.conv = operations.Conv2d(before, after, kernel, padding=kernel // 2, bias=False, **place)
        self.bn = BatchNorm(after, **place)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. [B, C, h, w] -> [B, C', h / stride, w / stride], rounded up."""

    def __init__(
        self, before: int, after: int, stride: int, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.conv1 = operations.Conv2d(before, after, 3, stride, 1, bias=False, **place)
        self.bn1 = BatchNorm(after, **place)
        self.conv2 = operations.Conv2d(after, after, 3, 1, 1, bias=False, **place)
        self.bn2 = BatchNorm(after, **place)
        self.downsample = nn.Sequential()
        if stride != 1 or before != after:
            self.downsample.append(operations.Conv2d(before, after, 1, stride, bias=False, **place))
            self.downsample.append(BatchNorm(after, **place))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """The backbone (He et al. 2016). [B, 3, H, W] -> features of 128, 256, 512 channels at 1/8, 1/16, 1/32 of H, W."""

    def __init__(
        self, depths: tuple[int, ...], device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.conv1 = operations.Conv2d(3, 64, 7, 2, 3, bias=False, **place)
        self.bn1 = BatchNorm(64, **place)
        before, stages = 64, []
        for number, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), 1):
            shapes = [(before, width, 1 if number == 1 else 2)] + [(width, width, 1)] * (depth - 1)
            stages.append(nn.Sequential(*(Residual(*shape, operations=operations, **place) for shape in shapes)))
            before = width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    """Features of 128 channels, each weighted by what the whole picture says of it. [B, C, h, w] -> [B, 128, h, w]."""

    def __init__(self, before: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.conv = ConvNorm(before, 128, 3, device, dtype, operations)
        self.conv_atten = operations.Conv2d(128, 128, 1, bias=False, device=device, dtype=dtype)
        self.bn_atten = BatchNorm(128, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(_mean(x))).sigmoid()


class ContextPath(nn.Module):
    """[B, 3, H, W] -> the backbone's features and those with context, both [B, 128, H / 8, W / 8]."""

    def __init__(
        self, depths: tuple[int, ...], device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype, "operations": operations}
        self.resnet = ResNet(depths, **place)
        self.arm16 = Refinement(256, **place)
        self.arm32 = Refinement(512, **place)
        self.conv_head32 = ConvNorm(128, 128, 3, **place)
        self.conv_head16 = ConvNorm(128, 128, 3, **place)
        self.conv_avg = ConvNorm(512, 128, 1, **place)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, coarsest = self.resnet(x)
        context = self.arm32(coarsest) + self.conv_avg(_mean(coarsest))
        context = self.conv_head32(F.interpolate(context, sixteenth.shape[2:]))
        context = self.arm16(sixteenth) + context
        return eighth, self.conv_head16(F.interpolate(context, eighth.shape[2:]))


class Fusion(nn.Module):
    """Two times [B, 128, h, w] -> [B, 256, h, w], with the channels that matter in this picture made stronger."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.convblk = ConvNorm(256, 256, 1, device, dtype, operations)
        self.conv1 = operations.Conv2d(256, 64, 1, bias=False, device=device, dtype=dtype)
        self.conv2 = operations.Conv2d(64, 256, 1, bias=False, device=device, dtype=dtype)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([detail, context], 1))
        return x + x * self.conv2(F.relu(self.conv1(_mean(x)))).sigmoid()


class Head(nn.Module):
    """[B, 256, h, w] -> logits [B, classes, h, w]."""

    def __init__(self, classes: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.conv = ConvNorm(256, 256, 3, device, dtype, operations)
        self.conv_out = operations.Conv2d(256, classes, 1, bias=False, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Pixels [B, 3, H, W], normalised as the backbone wants them -> logits [B, classes, H, W] float32."""

    def __init__(
        self, classes: int, depths: tuple[int, ...] = RESNET18, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype, "operations": operations}
        self.cp = ContextPath(depths, **place)
        self.ffm = Fusion(**place)
        self.conv_out = Head(classes, **place)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.conv_out(self.ffm(*self.cp(x.to(self.conv_out.conv_out.weight.dtype))))
        # corner on corner, as it was trained
        return F.interpolate(logits.float(), x.shape[2:], mode="bilinear", align_corners=True)


def _mean(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 1, 1]."""
    return x.mean((2, 3), keepdim=True)
