"""The autoencoder of Facelets: ComfyUI's tiny autoencoder on patches of pixels.

It has no normalisation layers, so flat colours survive: with GroupNorm networks this narrow lose them.
"""

import torch
from comfy.taesd.taesd import TAESD, Block, Clamp, conv
from torch import nn

CHANNELS = 16  # of the latents, as FLUX has them


class FaceletsAutoencoder(TAESD):
    """encode(pictures [B,3,H,W] in -1..1) -> latents [B,16,H/8,W/8] in FLUX's scale; decode is the way back."""

    def __init__(self):
        super().__init__()
        self.taesd_encoder = nn.Sequential(
            nn.PixelUnshuffle(4), conv(48, 64), Block(64, 64), Block(64, 64),
            conv(64, 128, stride=2, bias=False), Block(128, 128), Block(128, 128),
            conv(128, CHANNELS),
        )  # fmt: skip
        self.taesd_decoder = nn.Sequential(
            Clamp(), conv(CHANNELS, 128), nn.ReLU(),
            Block(128, 128), Block(128, 128), nn.Upsample(scale_factor=2), conv(128, 96, bias=False),
            Block(96, 96), Block(96, 96), Block(96, 96), conv(96, 48), nn.PixelShuffle(4),
        )  # fmt: skip
        self.vae_scale = nn.Parameter(torch.tensor(0.3611))
        self.vae_shift = nn.Parameter(torch.tensor(0.1159))
