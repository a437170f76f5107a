"""e4e's encoder by the description of encoder4editing's psp_encoders.py, under its names, of any width.

Input: pixels [B, 3, 256, 256], RGB, (x - 127.5) / 127.5. Output: [B, 18, code], without the file's `latent_avg`.
"""

import math

import torch
from torch import nn

WIDTHS, CODE = (64, 128, 256, 512), 512


class Squeeze(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, max(channels // 16, 1), 1, bias=False)
        self.fc2 = nn.Conv2d(max(channels // 16, 1), channels, 1, bias=False)

    def forward(self, x):
        mean = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(mean))))


class Unit(nn.Module):
    def __init__(self, inside: int, out: int, stride: int):
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride)
        if inside != out:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inside), nn.Conv2d(inside, out, 3, 1, 1, bias=False), nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), Squeeze(out),
        )  # fmt: skip
        self.res_layer[4].closes_branch = True

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class Equal(nn.Linear):
    """A layer whose weights are scaled where they are used, as StyleGAN's are."""

    def forward(self, x):
        return x @ (self.weight / math.sqrt(self.in_features)).T + self.bias


class Style(nn.Module):
    def __init__(self, inside: int, code: int, pixels: int):
        super().__init__()
        layers = []
        for number in range(int(math.log2(pixels))):
            layers += [nn.Conv2d(code if number else inside, code, 3, 2, 1), nn.LeakyReLU()]
        self.convs = nn.Sequential(*layers)
        self.linear = Equal(code, code)

    def forward(self, x):
        return self.linear(self.convs(x).flatten(1))


class Encoder(nn.Module):
    def __init__(self, widths=WIDTHS, code: int = CODE):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        )
        units, inside = [], widths[0]
        for count, out in zip((3, 4, 14, 3), widths, strict=True):
            for number in range(count):
                units.append(Unit(inside, out, 1 if number else 2))
                inside = out
        self.body = nn.Sequential(*units)
        self.styles = nn.ModuleList(
            [Style(inside, code, 16) for _ in range(3)]
            + [Style(inside, code, 32) for _ in range(4)]
            + [Style(inside, code, 64) for _ in range(11)]
        )
        self.latlayer1 = nn.Conv2d(widths[2], inside, 1)
        self.latlayer2 = nn.Conv2d(widths[1], inside, 1)

    def forward(self, x):
        x = self.input_layer(x)
        kept = {}
        for number, unit in enumerate(self.body):
            x = kept[number] = unit(x)
        c1, c2, c3 = kept[6], kept[20], kept[23]
        up = nn.UpsamplingBilinear2d(scale_factor=2)
        p2 = up(c3) + self.latlayer1(c2)
        p1 = up(p2) + self.latlayer2(c1)
        rows = [style(c3 if n < 3 else p2 if n < 7 else p1) for n, style in enumerate(self.styles)]
        return torch.stack([rows[0]] + [rows[0] + delta for delta in rows[1:]], 1)
