"""ArcFace's IResNet-50 and -100 and MobileFaceNet, by the description of insightface's arcface_torch.

Input: pixels [B, 3, 112, 112], RGB, (x - 127.5) / 127.5. Output: [B, 512], not normalised.
"""

import torch
from torch import nn

BLOCKS = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


class Block(nn.Module):
    def __init__(self, inside: int, out: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.prelu = nn.PReLU(out)
        self.conv2 = nn.Conv2d(out, out, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.bn3.closes_branch = True
        self.downsample = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        branch = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return branch + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """depth 50 or 100, or the numbers of blocks themselves; every width divided by `width`."""

    def __init__(self, depth: int | tuple[int, ...] = 50, width: int = 1, features: int = 512):
        super().__init__()
        widths = [64 // width, 64 // width, 128 // width, 256 // width, 512 // width]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        for stage, count in enumerate(BLOCKS.get(depth, depth)):
            inside, out = widths[stage : stage + 2]
            blocks = [Block(inside, out, 2)] + [Block(out, out, 1) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn2 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1] * 7 * 7, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


def _conv(inside, out, kernel, stride=1, groups=1, padding=None, act=True):
    padding = kernel // 2 if padding is None else padding
    conv = nn.Conv2d(inside, out, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([nn.PReLU(out)] if act else []))


class DepthWise(nn.Module):
    """1x1 to `groups` channels, depthwise 3x3, 1x1 without an activation; with a way around it if `residual`."""

    def __init__(self, inside: int, out: int, groups: int, stride: int = 1, residual: bool = False):
        super().__init__()
        self.residual = residual
        last = _conv(groups, out, 1, act=False)
        last[1].closes_branch = residual
        self.layers = nn.Sequential(_conv(inside, groups, 1), _conv(groups, groups, 3, stride, groups), last)

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileFaceNet(nn.Module):
    """published: w600k_mbf, else arcface_torch's `mbf` as its source has it. Every width divided by `width`.

    The source of w600k_mbf was not published. Its file has 49 Conv, 34 PRelu, 12 Add, 1 Gemm, 1 BatchNormalization and
    13,616,099 bytes. The source below, its inner widths doubled but for the last step down, an activation after the
    7x7 and a bias in the linear layer has those nodes, the file's name of the output (516), and its size to 0.06 %.
    """

    def __init__(self, width: int = 1, features: int = 512, published: bool = True):
        super().__init__()
        few, middle, many = 128 // width, 256 // width, 512 // width
        wider = 2 if published else 1
        self.layers = nn.Sequential(
            _conv(3, few, 3, 2),
            _conv(few, few, 3, groups=64 // width),  # 64 groups of two channels: not depthwise
            DepthWise(few, few, wider * few, 2),
            *[DepthWise(few, few, wider * few, residual=True) for _ in range(4)],
            DepthWise(few, middle, wider * middle, 2),
            *[DepthWise(middle, middle, wider * middle, residual=True) for _ in range(6)],
            DepthWise(middle, middle, many, 2),
            *[DepthWise(middle, middle, wider * middle, residual=True) for _ in range(2)],
        )
        self.conv_sep = _conv(middle, many, 1)
        self.features = nn.Sequential(
            _conv(many, many, 7, groups=many, padding=0, act=published),
            nn.Flatten(),
            nn.Linear(many, features, bias=published),
            nn.BatchNorm1d(features),
        )

    def forward(self, x):
        return self.features(self.conv_sep(self.layers(x)))
