"""TransFace's vision transformer by the description of its backbones/vit.py, under its names, of any width and depth.

Input: pixels [B, 3, 112, 112], RGB, (x - 127.5) / 127.5. Output: the patches [B, 144, dim].
"""

import torch
from torch import nn

PATCHES, HEADS = 144, 8


class Attention(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x):
        outputs = []
        parts = [part.chunk(HEADS, -1) for part in self.qkv(x).chunk(3, -1)]
        for q, k, v in zip(*parts, strict=True):
            outputs.append(torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v)
        return self.proj(torch.cat(outputs, -1))


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(self.fc1(x).clamp(0, 6))


class Block(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransFace(nn.Module):
    def __init__(self, dim: int = 512, depth: int = 12):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, 9, 9)})
        self.pos_embed = nn.Parameter(torch.zeros(1, PATCHES, dim))
        self.blocks = nn.Sequential(*(Block(dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.feature = nn.Sequential(
            nn.Linear(dim * PATCHES, dim, bias=False), nn.BatchNorm1d(dim, eps=2e-5),
            nn.Linear(dim, 512, bias=False), nn.BatchNorm1d(512, eps=2e-5),
        )  # fmt: skip
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.senet = nn.Sequential(
            nn.Linear(dim * PATCHES, PATCHES, bias=False), nn.ReLU(), nn.Linear(PATCHES, PATCHES, bias=False),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        patches = [
            self.patch_embed["proj"](x[:, :, 9 * row : 9 * row + 9, 9 * column : 9 * column + 9]).flatten(1)
            for row in range(12)
            for column in range(12)
        ]
        return self.norm(self.blocks(torch.stack(patches, 1) + self.pos_embed))
