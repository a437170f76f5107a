"""Tiny IP-Adapter files in the published layouts: FaceID, Plus, Portrait, and those for plain pictures."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS, instantid

FACE_DIM, RANK, CLIP_WIDTH, POOLED, PATCHES = 512, 8, 1280, 1024, 17
_FAMILIES = ("faceid", "faceid-plus", "portrait", "unnorm", "basic", "plus", "full")


class Numbers:
    """Random weights that keep the size of what passes through them."""

    def __init__(self, seed: int):
        self._generator = torch.Generator().manual_seed(seed)

    def matrix(self, *shape):
        return torch.randn(shape, generator=self._generator) / shape[-1] ** 0.5

    def linear(self, prefix, out, width, gain=1.0):
        return {f"{prefix}.weight": gain * self.matrix(out, width), f"{prefix}.bias": 0.05 * self.matrix(out)}

    def norm(self, prefix, width):
        return {f"{prefix}.weight": 1 + 0.05 * self.matrix(width), f"{prefix}.bias": 0.05 * self.matrix(width)}

    def perceiver_layers(self, prefix, dim, inner, depth):
        tensors = {}
        for layer in range(depth):
            attention, mlp = f"{prefix}layers.{layer}.0", f"{prefix}layers.{layer}.1"
            tensors |= self.norm(f"{attention}.norm1", dim) | self.norm(f"{attention}.norm2", dim)
            tensors |= {
                f"{attention}.to_q.weight": self.matrix(inner, dim),
                f"{attention}.to_kv.weight": self.matrix(2 * inner, dim),
                f"{attention}.to_out.weight": self.matrix(dim, inner),
                f"{mlp}.1.weight": self.matrix(4 * dim, dim),
                f"{mlp}.3.weight": self.matrix(dim, 4 * dim),
            } | self.norm(f"{mlp}.0", dim)
        return tensors

    def sites(self, kind, names=("to_k_ip", "to_v_ip")):
        return {
            f"{2 * index + 1}.{name}.weight": self.matrix(width, CONTEXT_DIM[kind])
            for index, width in enumerate(SITE_WIDTHS[kind])
            for name in names
        }

    def lora(self, kind, rank=RANK, gain=0.3):
        """LoRA layers of every attention: even numbers are self-attentions, odd ones cross-attentions."""
        tensors = {}
        for index, width in enumerate(SITE_WIDTHS[kind]):
            for number in (2 * index, 2 * index + 1):
                for part in ("q", "k", "v", "out"):
                    from_text = number % 2 and part in "kv"
                    stem = f"{number}.to_{part}_lora"
                    tensors[f"{stem}.down.weight"] = self.matrix(rank, CONTEXT_DIM[kind] if from_text else width)
                    tensors[f"{stem}.up.weight"] = gain * self.matrix(width, rank)
        return tensors


def ip_adapter(family: str, kind: str, seed: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    """{"image_proj": ..., "ip_adapter": ...} for a tiny U-Net; `family` is one of _FAMILIES, kind "sd15" or "sdxl"."""
    numbers, context = Numbers(seed + 40 + _FAMILIES.index(family)), CONTEXT_DIM[kind]
    sites = numbers.sites(kind)
    if family == "unnorm":
        made = instantid(kind, seed + 9)
        made["image_proj"]["proj_in.weight"] = numbers.matrix(64, FACE_DIM)
        return made
    if family in ("faceid", "faceid-plus", "portrait"):
        tokens = 16 if family == "portrait" else 4
        # a vector of length 1 over 512 numbers is small, so the first layer lifts it
        projection = numbers.linear("proj.0", 2 * FACE_DIM, FACE_DIM, gain=FACE_DIM**0.5)
        projection |= numbers.linear("proj.2", tokens * context, 2 * FACE_DIM) | numbers.norm("norm", context)
        if family == "faceid-plus":
            prefix = "perceiver_resampler."
            projection |= numbers.linear(f"{prefix}proj_in", context, CLIP_WIDTH)
            projection |= numbers.perceiver_layers(prefix, context, 64, depth=4)
            projection |= numbers.linear(f"{prefix}proj_out", context, context)
            projection |= numbers.norm(f"{prefix}norm_out", context)
        if family != "portrait":
            sites |= numbers.lora(kind)
    elif family == "basic":
        projection = numbers.linear("proj", 4 * context, POOLED) | numbers.norm("norm", context)
    elif family == "full":
        projection = numbers.linear("proj.0", CLIP_WIDTH, CLIP_WIDTH) | numbers.linear("proj.2", context, CLIP_WIDTH)
        projection |= numbers.norm("proj.3", context)
    else:
        projection = {"latents": numbers.matrix(1, 16, 64) * 8} | numbers.linear("proj_in", 64, CLIP_WIDTH)
        projection |= numbers.perceiver_layers("", 64, 64, depth=4)
        projection |= numbers.linear("proj_out", context, 64) | numbers.norm("norm_out", context)
    return {"image_proj": projection, "ip_adapter": sites}


def flat(nested) -> dict[str, torch.Tensor]:
    """{"image_proj": {"norm.weight": t}} -> {"image_proj.norm.weight": t}, as safetensors files have it."""
    return {f"{top}.{key}": tensor for top, part in nested.items() for key, tensor in part.items()}
