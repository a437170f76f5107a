"""Tiny checkpoint, ControlNet and adapter files in the published layouts, with random weights."""

from pathlib import Path

import torch

FACE_DIM = 128
FACE_SPACE = "dlib-resnet34-128"
RESAMPLER_DIM, DEPTH, QUERIES = 64, 4, 16

# Channels of the cross-attention sites in the order of adapter checkpoints: down, up, middle.
SITE_WIDTHS = {
    "sd15": [32] * 2 + [64] * 2 + [128] * 2 + [128] * 3 + [64] * 3 + [32] * 3 + [128],
    "sdxl": [64] * 4 + [128] * 20 + [128] * 30 + [64] * 6 + [128] * 10,
}
SITE_WIDTHS["sd15_full"] = [10 * width for width in SITE_WIDTHS["sd15"]]
CONTEXT_DIM = {"sd15": 48, "sdxl": 64, "sd15_full": 768}


def write_files(models_dir, seed: int = 0) -> list[Path]:
    """Write every tiny file below ComfyUI's `models_dir` and return their paths; same seed, same values.

    ComfyUI must be importable. checkpoints/tiny_{sd15,sdxl}.safetensors (with text encoders and a TAESD autoencoder)
    and controlnet/tiny_sdxl_controlnet.safetensors in fp16; instantid/tiny_instantid{,_sd15}.{safetensors,bin} in fp32.
    """
    models_dir = Path(models_dir)
    for folder in ("checkpoints", "controlnet", "instantid"):
        (models_dir / folder).mkdir(parents=True, exist_ok=True)
    written = []
    for kind in ("sd15", "sdxl"):
        path = models_dir / f"checkpoints/tiny_{kind}.safetensors"
        written.append(_save(checkpoint(kind, seed), path))
        name = "tiny_instantid" if kind == "sdxl" else f"tiny_instantid_{kind}"
        written += _save_instantid(instantid(kind, seed), models_dir / "instantid" / name)
    written.append(_save(controlnet(seed), models_dir / "controlnet/tiny_sdxl_controlnet.safetensors"))
    return written


def checkpoint(kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """State dict of a whole checkpoint: U-Net and text encoders in the ldm/sgm layout, the autoencoder in TAESD's."""
    from comfy.taesd.taesd import TAESD
    from comfy_versions import checkpoint_state

    from .unet import base_model
    from .weights import fill

    model = base_model(kind, seed)
    text_encoder = fill(model.model_config.clip_target().clip(device="cpu", dtype=torch.float32), seed + 1)
    autoencoder = fill(TAESD(latent_channels=4), seed + 2, gain=0.7)
    autoencoder.vae_scale.fill_(model.latent_format.scale_factor)
    autoencoder.taesd_decoder[-1].weight.mul_(1.5)  # pictures around a middle grey, with contrast
    autoencoder.taesd_decoder[-1].bias.fill_(0.5)
    return checkpoint_state(model, text_encoder, autoencoder)


def controlnet(seed: int = 0) -> dict[str, torch.Tensor]:
    """State dict of an SDXL ControlNet in the ldm layout; its zero convolutions are not zero, so it has an effect."""
    import comfy.ops
    from comfy.cldm.cldm import ControlNet

    from .likeness_tiny_models.configs import model_config
    from .weights import fill

    config = {**model_config("sdxl", torch.float32).unet_config, "hint_channels": 3}
    del config["out_channels"]
    module = fill(ControlNet(**config, operations=comfy.ops.disable_weight_init), seed + 3)
    for convolution in (*module.zero_convs, module.middle_block_out):
        convolution[0].weight.mul_(0.3)
    return {f"control_model.{key}": value for key, value in module.state_dict().items()}


def instantid(kind: str, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """InstantID's adapter for a tiny U-Net: {"image_proj": Resampler, "ip_adapter": K and V of each site}."""
    generator = torch.Generator().manual_seed(seed + 4)
    dim, context = RESAMPLER_DIM, CONTEXT_DIM[kind]

    def matrix(*shape):
        return torch.randn(shape, generator=generator) / shape[-1] ** 0.5

    def norm(prefix, width):
        return {f"{prefix}.weight": 1 + 0.05 * matrix(width), f"{prefix}.bias": 0.05 * matrix(width)}

    # Unnormalised face vectors of this space have a length near 1, so the first layer lifts them to unit scale.
    image_proj = {"latents": matrix(1, QUERIES, dim) * dim**0.5}
    image_proj |= {"proj_in.weight": matrix(dim, FACE_DIM) * FACE_DIM**0.5, "proj_in.bias": 0.05 * matrix(dim)}
    for layer in range(DEPTH):
        attention, feed_forward = f"layers.{layer}.0", f"layers.{layer}.1"
        image_proj |= norm(f"{attention}.norm1", dim) | norm(f"{attention}.norm2", dim)
        image_proj |= {f"{attention}.to_q.weight": matrix(dim, dim), f"{attention}.to_kv.weight": matrix(2 * dim, dim)}
        image_proj |= {f"{attention}.to_out.weight": matrix(dim, dim)} | norm(f"{feed_forward}.0", dim)
        image_proj |= {f"{feed_forward}.1.weight": matrix(4 * dim, dim)}
        image_proj |= {f"{feed_forward}.3.weight": matrix(dim, 4 * dim)}
    image_proj |= {"proj_out.weight": matrix(context, dim), "proj_out.bias": 0.05 * matrix(context)}
    image_proj |= norm("norm_out", context)

    ip_adapter = {}
    for index, width in enumerate(SITE_WIDTHS[kind]):
        for part in ("to_k_ip", "to_v_ip"):
            ip_adapter[f"{2 * index + 1}.{part}.weight"] = matrix(width, context)
    return {"image_proj": image_proj, "ip_adapter": ip_adapter}


def _save(tensors, path):
    from safetensors.torch import save_file

    save_file({key: value.half().contiguous() for key, value in tensors.items()}, path)
    return path


def _save_instantid(adapter, stem):
    """The nested pickle that InstantID publishes, and the flat safetensors that re-saves of it use."""
    from safetensors.torch import save_file

    flat = {f"{top}.{key}": value for top, part in adapter.items() for key, value in part.items()}
    metadata = {"likeness.face_space": FACE_SPACE}
    save_file(flat, f"{stem}.safetensors", metadata)
    torch.save(adapter, f"{stem}.bin")
    return [Path(f"{stem}.safetensors"), Path(f"{stem}.bin")]
