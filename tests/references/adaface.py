"""AdaFace's IR-18 to IR-101, by the description of AdaFace's net.py, under its names.

Input: pixels [B, 3, 112, 112], BGR, (x - 127.5) / 127.5. Output: [B, 512] of length 1 and their norms [B, 1].
"""

import torch
from torch import nn

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 101: (3, 13, 30, 3)}


class Unit(nn.Module):
    def __init__(self, inside: int, out: int, stride: int):
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride)
        if inside != out:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inside), nn.Conv2d(inside, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.PReLU(out),
            nn.Conv2d(out, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.res_layer[5].closes_branch = True

    def forward(self, x):
        return self.res_layer(x) + self.shortcut_layer(x)


class AdaFace(nn.Module):
    """layers: 18, 34, 50 or 101."""

    kept = ("output_layer.4",)  # of references.filling: it has statistics only, which `settle` fills

    def __init__(self, layers: int):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )  # fmt: skip
        units, inside = [], 64
        for count, out in zip(UNITS[layers], (64, 128, 256, 512), strict=True):
            for number in range(count):
                units.append(Unit(inside, out, 2 if number == 0 else 1))
                inside = out
        self.body = nn.Sequential(*units)

    def settle(self, generator: torch.Generator):
        """Statistics of the last layer that differ from channel to channel."""
        last = self.output_layer[4]
        last.running_mean.normal_(0, 0.3, generator=generator)
        last.running_var.uniform_(0.5, 1.5, generator=generator)

    def forward(self, x):
        feature = self.output_layer(self.body(self.input_layer(x)))
        norm = feature.norm(dim=1, keepdim=True)
        return feature / norm, norm
