"""The autoencoder of Facelets: ComfyUI's tiny autoencoder, narrower, on patches of 2 x 2 pixels."""

import torch
from comfy.taesd.taesd import TAESD, Block, Clamp, conv
from torch import nn

CHANNELS = 8  # of the latents: four, as SD has, lose eyes and mouths at this size


class FaceletsAutoencoder(TAESD):
    """encode(pictures [B,3,H,W] in -1..1) -> latents [B,8,H/8,W/8] in SD's scale; decode is the way back.

    It has no normalisation layers, so flat colours survive: with GroupNorm a network this narrow loses them.
    """

    def __init__(self):
        super().__init__()
        self.taesd_encoder = nn.Sequential(
            nn.PixelUnshuffle(2), conv(12, 32), Block(32, 32),
            conv(32, 64, stride=2, bias=False), Block(64, 64), Block(64, 64),
            conv(64, 96, stride=2, bias=False), Block(96, 96), Block(96, 96),
            conv(96, CHANNELS),
        )  # fmt: skip
        self.taesd_decoder = nn.Sequential(
            Clamp(), conv(CHANNELS, 96), nn.ReLU(),
            Block(96, 96), Block(96, 96), nn.Upsample(scale_factor=2), conv(96, 64, bias=False),
            Block(64, 64), Block(64, 64), nn.Upsample(scale_factor=2), conv(64, 48, bias=False),
            Block(48, 48), conv(48, 12), nn.PixelShuffle(2),
        )  # fmt: skip
        self.vae_scale = nn.Parameter(torch.tensor(0.18215))
