"""Files of Facelets with random weights, in the layout of those that the recipe makes."""

import json
from pathlib import Path

import torch
from facelets import flux, flux_adapter, networks
from tiny.weights import fill, make_denoiser

FACE_SPACE, FACE_DIM, TEXT_WIDTH = "facelets-128", 128, 128
SITE_WIDTHS = (64, 128, 128, 128, 64, 64, 128)  # of the cross-attention sites: down, up, middle
CHANNELS = 16  # of the latents
LATENT_RGB = {
    "factors": [[0.5, 0.1, -0.2], [0.1, 0.4, 0.3], [-0.3, 0.2, 0.1], [0.0, -0.4, 0.2]] * (CHANNELS // 4),
    "bias": [0.1, 0.0, -0.1],
}


def write_files(folder, seed: int = 0) -> Path:
    """Write all files in fp16 and return their folder; same seed, same values. ComfyUI must be importable."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {
        "vae": {"likeness.latent_rgb": json.dumps(LATENT_RGB)},
        "ip_adapter": {"likeness.face_space": FACE_SPACE},
        "pulid": {"likeness.face_space": FACE_SPACE},
    }
    for name, tensors in contents(seed).items():
        halves = {key: value.half().contiguous() for key, value in tensors.items()}
        _save(halves, folder / f"{name}.safetensors", metadata.get(name))
    return folder


def contents(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """The state dicts of the files of both architectures by name, in fp32."""
    unet = fill(networks.new_unet(), seed)
    make_denoiser(unet)
    autoencoder = fill(networks.new_autoencoder(), seed + 2, gain=0.7)
    autoencoder.taesd_decoder[-2].weight.mul_(1.5)  # pictures around a middle grey, with contrast
    autoencoder.taesd_decoder[-2].bias.fill_(0.5)
    control = fill(networks.new_control_net(), seed + 3)
    for convolution in (*control.zero_convs, control.middle_block_out):
        convolution[0].weight.mul_(0.3)  # not zero, so that it has an effect
    return {
        "unet": unet.state_dict(),
        "text_encoder": fill(networks.new_text_encoder(), seed + 1).state_dict(),
        "vae": autoencoder.state_dict(),
        "controlnet": control.state_dict(),
        "ip_adapter": adapter(seed),
        "faces": faces(seed),
        **flux_parts(seed),
    }


def adapter(seed: int = 0) -> dict[str, torch.Tensor]:
    """InstantID's layout: a Resampler under `image_proj`, K and V of each site under `ip_adapter` 1, 3, 5, ..."""
    from likeness.core.adapters.resampler import Resampler

    projection = fill(Resampler(64, 64, 2, 16, FACE_DIM, TEXT_WIDTH), seed + 4)
    projection.proj_in.weight.mul_(FACE_DIM**0.5)  # face vectors are about as long as 1
    weights = {f"image_proj.{key}": value for key, value in projection.state_dict().items()}
    generator = torch.Generator().manual_seed(seed + 5)
    for site, width in enumerate(SITE_WIDTHS):
        for part in ("to_k_ip", "to_v_ip"):
            matrix = torch.randn(width, TEXT_WIDTH, generator=generator) / TEXT_WIDTH**0.5
            weights[f"ip_adapter.{2 * site + 1}.{part}.weight"] = matrix
    return weights


def flux_parts(seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """FLUX, its landmark ControlNet in XLabs' layout, and its adapter in PuLID's."""
    base = flux.Flux(torch.nn.Identity())
    fill(base.flux, seed + 8)
    control, trained = flux_adapter.LandmarkControl(base), flux_adapter.new_adapter()
    fill(control.input_hint_block, seed + 9)
    for part in (control.net.controlnet_x_embedder, *control.net.controlnet_blocks, *trained.pulid_ca):
        fill(part, seed + 10)  # not zero, so that it has an effect
    return {
        "flux": flux.to_comfyui(base.flux.state_dict()),
        "flux_controlnet": control.to_comfyui(),
        "pulid": trained.state_dict(),
    }


def faces(seed: int = 0) -> dict[str, torch.Tensor]:
    """Detector and descriptor of drawn faces."""
    from likeness.core.facelets.detection import DrawnDetector
    from likeness.core.facelets.networks import DrawnEmbedder

    parts = {"detector": fill(DrawnDetector(), seed + 6), "embedder": fill(DrawnEmbedder(), seed + 7)}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def _save(tensors, path, metadata):
    from safetensors.torch import save_file

    save_file(tensors, path, metadata)
