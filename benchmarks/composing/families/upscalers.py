"""Upscalers that draw a picture tile by tile, each in a run of its own.

A run shows its tile as a whole picture, and nothing tells a model where that tile lies: a mask of the picture can't be
cut with it, so masks are for tiles that are drawn in one run. (Routed people are left out: Ultimate SD Upscale ends in
an error of its own with any model that has a patch of attention's inputs, whoever put it there.)
"""

from functools import cache

import torch

from ..cases import Outcome, case

_PACK = "ComfyUI_UltimateSDUpscale"
_TILE = 128  # pixels
_BITS = 0.005  # that pack keeps tiles in eight bits


@cache
def _vae():
    import comfy.sd
    from comfy.taesd.taesd import TAESD
    from tiny.weights import fill

    return comfy.sd.VAE(sd=fill(TAESD(latent_channels=4), 2, gain=0.7).state_dict())


def _picture():
    return torch.rand(1, _TILE, 2 * _TILE, 3, generator=torch.Generator().manual_seed(7))


def _by_node(bench, model, positive, negative):
    return bench.node(
        "UltimateSDUpscaleNoUpscale", upscaled_image=_picture(), model=model, positive=positive, negative=negative,
        vae=_vae(), seed=1, steps=4, cfg=4.0, sampler_name="euler", scheduler="simple", denoise=1.0,
        mode_type="Linear", tile_width=_TILE, tile_height=_TILE, mask_blur=0, tile_padding=0, seam_fix_mode="None",
        seam_fix_denoise=1.0, seam_fix_mask_blur=0, seam_fix_width=64, seam_fix_padding=0, force_uniform_tiles=True,
        tiled_decode=False,
    )  # fmt: skip


def _by_hand(bench, model, positive, negative):
    """VAE Encode, KSampler and VAE Decode for each tile."""
    tiles = []
    for tile in _picture().split(_TILE, 2):
        latent = bench.node("VAEEncode", _vae(), (tile * 255).floor() / 255)
        drawn = bench.node("KSampler", model, 1, 4, 4.0, "euler", "simple", positive, negative, latent, 1.0)
        tiles.append((bench.node("VAEDecode", _vae(), drawn).clamp(0, 1) * 255).floor() / 255)
    return torch.cat(tiles, 2)


_DRAWN = ["identity", "cure", "cure, separate"]


@case("Ultimate SD Upscale, two tiles", "KSampler for each tile", _DRAWN, tolerance=_BITS, pack=_PACK)
def tile_by_tile(bench, put):
    with torch.inference_mode():  # as ComfyUI runs nodes
        value, reference = _by_node(bench, *put()), _by_hand(bench, *put())
        return Outcome(value, reference, _by_hand(bench, *put.base()))
