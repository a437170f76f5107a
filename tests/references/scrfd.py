"""SCRFD face detectors by the configurations that insightface publishes (detection/scrfd/configs/scrfd).

Input: pixels [B, 3, H, W], RGB, (x - 127.5) / 128, both sides multiples of 32. Output, as files have it: scores for
strides 8, 16 and 32 (after the sigmoid), then boxes (left, top, right, bottom distances from the cell's corner in
strides), then key points (five offsets x, y in strides); two anchors per cell.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

STRIDES, ANCHORS, POINTS = (8, 16, 32), 2, 5


@dataclass(frozen=True)
class Config:
    """backbone: "mobile" (MobileNetV1), "basic" or "bottleneck" (ResNetV1e). groups: of GroupNorm in the head, 0 for
    BatchNorm. shared: one head for all strides. scaled: a learned factor per stride on the boxes."""

    backbone: str
    blocks: tuple[int, ...]
    planes: tuple[int, ...]
    neck: int
    stacked: int
    features: int
    depthwise: bool = False
    groups: int = 0
    shared: bool = False
    scaled: bool = True


# Key points were published for 500m, 2.5g and 10g only; 1g and 34g get the same kps layer here.
CONFIGS = {
    "500m": Config("mobile", (2, 3, 2, 6), (16, 16, 40, 72, 152, 288), 16, 2, 64, depthwise=True, scaled=False),
    "1g": Config("mobile", (3, 2, 1, 5), (32, 48, 48, 160, 216, 312), 24, 2, 96, True, groups=8, shared=True),
    "1gbn": Config("mobile", (3, 2, 1, 5), (32, 48, 48, 160, 216, 312), 24, 2, 96, True),
    "2.5g": Config("basic", (3, 5, 3, 2), (24, 48, 48, 80), 24, 2, 64),
    "10g": Config("basic", (3, 4, 2, 3), (56, 88, 88, 224), 56, 3, 80),
    "34g": Config("bottleneck", (17, 16, 2, 8), (56, 56, 144, 184), 128, 2, 256, groups=32, shared=True),
}


def _conv(inside, out, kernel, stride=1, groups=1, act=True):
    conv = nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out), *([nn.ReLU()] if act else [])]


class Residual(nn.Module):
    """ResNet's basic block, or its bottleneck (planes to four times as many), stride in the 3x3."""

    def __init__(self, inside: int, planes: int, stride: int, bottleneck: bool):
        super().__init__()
        out = planes * (4 if bottleneck else 1)
        if bottleneck:
            layers = [*_conv(inside, planes, 1), *_conv(planes, planes, 3, stride), *_conv(planes, out, 1, act=False)]
        else:
            layers = [*_conv(inside, planes, 3, stride), *_conv(planes, planes, 3, act=False)]
        layers[-1].closes_branch = True
        self.branch = nn.Sequential(*layers)
        way = []
        if stride != 1 or inside != out:
            # ResNet-D: the mean of each 2x2 before a 1x1 of stride 1
            way = [nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)] if stride != 1 else []
            way += _conv(inside, out, 1, act=False)
        self.way = nn.Sequential(*way)

    def forward(self, x):
        return torch.relu(self.branch(x) + self.way(x))


def _resnet(config, planes):
    base, bottleneck = planes[0], config.backbone == "bottleneck"
    stem = [*_conv(3, base // 2, 3, 2), *_conv(base // 2, base // 2, 3), *_conv(base // 2, base, 3)]
    stages, inside = [], base
    for stage, (count, width) in enumerate(zip(config.blocks, planes, strict=True)):
        blocks = []
        for number in range(count):
            blocks.append(Residual(inside, width, 2 if stage and not number else 1, bottleneck))
            inside = width * (4 if bottleneck else 1)
        stages.append(nn.Sequential(*blocks))
    stages[0] = nn.Sequential(*stem, nn.MaxPool2d(2, 2), *stages[0])
    return stages, [width * (4 if bottleneck else 1) for width in planes]


def _mobilenet(config, planes):
    def separable(inside, out, stride):
        return [*_conv(inside, inside, 3, stride, inside), *_conv(inside, out, 1)]

    stages = []
    for stage, count in enumerate(config.blocks):
        before, width = planes[stage + 1 : stage + 3]
        layers = separable(before, width, 2) + [layer for _ in range(count - 1) for layer in separable(width, width, 1)]
        stages.append(nn.Sequential(*layers))
    stages[0] = nn.Sequential(*_conv(3, planes[0], 3, 2), *separable(planes[0], planes[1], 1), *stages[0])
    return stages, planes[2:]


class Neck(nn.Module):
    """PAFPN over strides 8, 16 and 32: plain convolutions with biases, neither norms nor activations."""

    def __init__(self, inside: list[int], out: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, out, 1) for width in inside)
        self.top_down = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1) for _ in inside)
        self.down = nn.ModuleList(nn.Conv2d(out, out, 3, 2, 1) for _ in inside[1:])
        self.bottom_up = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1) for _ in inside[1:])

    def forward(self, maps):
        maps = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in (1, 0):
            maps[level] = maps[level] + F.interpolate(maps[level + 1], size=maps[level].shape[2:], mode="nearest")
        maps = [conv(x) for conv, x in zip(self.top_down, maps, strict=True)]
        for level in (0, 1):
            maps[level + 1] = maps[level + 1] + self.down[level](maps[level])
        return maps[0], *(conv(x) for conv, x in zip(self.bottom_up, maps[1:], strict=True))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return x * self.scale


class Head(nn.Module):
    """The layers of one stride, or of all where they are shared; box and key points take the features of the score."""

    def __init__(self, config: Config, inside: int, features: int, keypoints: bool):
        super().__init__()
        layers = []
        for number in range(config.stacked):
            before = features if number else inside
            steps = [(before, before, 3, before), (before, features, 1, 1)]
            for left, right, kernel, groups in steps if config.depthwise else [(before, features, 3, 1)]:
                conv = nn.Conv2d(left, right, kernel, 1, kernel // 2, groups=groups, bias=False)
                norm = nn.GroupNorm(config.groups, right) if config.groups else nn.BatchNorm2d(right)
                layers += [conv, norm, nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        self.cls = nn.Conv2d(features, ANCHORS, 3, padding=1)
        self.reg = nn.Conv2d(features, 4 * ANCHORS, 3, padding=1)
        self.kps = nn.Conv2d(features, 2 * POINTS * ANCHORS, 3, padding=1) if keypoints else None


class SCRFD(nn.Module):
    """size: a key of CONFIGS. batched: outputs [B, n, 1 | 4 | 10], else [B * n, ...] as the first exporter had them.

    Every width is divided by `width`.
    """

    def __init__(self, size: str = "10g", width: int = 1, keypoints: bool = True, batched: bool = False):
        super().__init__()
        config = self.config = CONFIGS[size]
        planes = [_divided(number, width) for number in config.planes]
        stages, widths = (_mobilenet if config.backbone == "mobile" else _resnet)(config, planes)
        neck, self.features = _divided(config.neck, width), config.features // width
        self.stages = nn.ModuleList(stages)
        self.neck = Neck(widths[1:], neck)
        self.heads = nn.ModuleList(
            Head(config, neck, self.features, keypoints) for _ in (STRIDES[:1] if config.shared else STRIDES)
        )
        self.scales = nn.ModuleList(Scale() if config.scaled else nn.Identity() for _ in STRIDES)
        self.batched, self.keypoints = batched, keypoints

    def head(self, level: int) -> Head:
        return self.heads[0 if self.config.shared else level]

    def levels(self, x) -> list[torch.Tensor]:
        """Per stride the features [B, C, H / stride, W / stride] that score, box and key points are read from."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [self.head(level).convs(x) for level, x in enumerate(self.neck(maps[1:]))]

    def forward(self, x):
        scores, boxes, points = [], [], []
        for level, features in enumerate(self.levels(x)):
            head = self.head(level)
            scores.append(self._rows(head.cls(features), 1).sigmoid())
            boxes.append(self._rows(self.scales[level](head.reg(features)), 4))
            if self.keypoints:
                points.append(self._rows(head.kps(features), 2 * POINTS))
        return (*scores, *boxes, *points)

    def _rows(self, x, columns):
        if self.batched:
            return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, columns)
        return x.permute(2, 3, 0, 1).reshape(-1, columns)


def _divided(number: int, width: int) -> int:
    return max(8, number // width // 2 * 2)
