"""ArcFace's IR-SE50 by the description of facexlib's arcface_arch.py, under its names.

Input: pixels [B, 3, 112, 112], BGR, (x - 127.5) / 127.5. Output: [B, 512] of length 1.
"""

from torch import nn

from .e4e import Unit


class IRSE50(nn.Module):
    """units: of each stage; facexlib's file has 3, 4, 14 and 3."""

    def __init__(self, units=(3, 4, 14, 3)):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.6), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)
        )
        body, inside = [], 64
        for count, out in zip(units, (64, 128, 256, 512), strict=True):
            for number in range(count):
                body.append(Unit(inside, out, 2 if number == 0 else 1))
                inside = out
        self.body = nn.Sequential(*body)

    def forward(self, x):
        return nn.functional.normalize(self.output_layer(self.body(self.input_layer(x))))
