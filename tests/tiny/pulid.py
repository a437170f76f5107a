"""Tiny PuLID adapters for SDXL in the published layouts, with random weights."""

from dataclasses import dataclass

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS

POOLED_DIM = 768  # numbers of EVA-CLIP's embedding of the whole picture
QUERIES, LAYERS = 32, 10


@dataclass(frozen=True)
class Sizes:
    """Numbers of a face vector; channels of EVA's hidden states, of the perceptrons, IDFormer, tokens and sites."""

    face_dim: int
    seen_dim: int
    hidden: int
    dim: int
    context: int
    sites: tuple[int, ...]


TINY = Sizes(128, 64, 32, 64, CONTEXT_DIM["sdxl"], tuple(SITE_WIDTHS["sdxl"]))
FULL = Sizes(512, 1024, 1024, 1024, 2048, (640,) * 4 + (1280,) * 50 + (640,) * 6 + (1280,) * 10)


class Random:
    """Weights of a sane scale, the same for the same seed; shapes without numbers on the device "meta"."""

    def __init__(self, seed, device="cpu"):
        self.generator = torch.Generator(device).manual_seed(seed) if device != "meta" else None
        self.device = device

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator, device=self.device)

    def matrix(self, *shape):
        return self.randn(*shape) / shape[-1] ** 0.5

    def linear(self, key, output, dim, bias=True):
        tensors = {f"{key}.weight": self.matrix(output, dim)}
        return tensors | {f"{key}.bias": 0.05 * self.randn(output)} if bias else tensors

    def norm(self, key, width):
        return {f"{key}.weight": 1 + 0.05 * self.randn(width), f"{key}.bias": 0.05 * self.randn(width)}

    def perceptron(self, key, dim, hidden, output):
        tensors = {}
        for number, (width, out) in zip((0, 3, 6), ((dim, hidden), (hidden, hidden), (hidden, output)), strict=True):
            tensors |= self.linear(f"{key}.{number}", out, width)
            if number < 6:
                tensors |= self.norm(f"{key}.{number + 1}", hidden)
        return tensors

    def attention(self, key, dim, inner):
        tensors = self.norm(f"{key}.norm1", dim) | self.norm(f"{key}.norm2", dim)
        tensors |= self.linear(f"{key}.to_q", inner, dim, bias=False)
        tensors |= self.linear(f"{key}.to_kv", 2 * inner, dim, bias=False)
        return tensors | self.linear(f"{key}.to_out", dim, inner, bias=False)

    def feed_forward(self, key, dim):
        tensors = self.norm(f"{key}.0", dim) | self.linear(f"{key}.1", 4 * dim, dim, bias=False)
        return tensors | self.linear(f"{key}.3", dim, 4 * dim, bias=False)


def pulid(version: str = "v1", seed: int = 0, sizes: Sizes = TINY, device: str = "cpu"):
    """{"id_adapter": IDEncoder ("v1") or IDFormer ("v1.1"), "id_adapter_attn_layers": K and V of each site}."""
    random, face, dim = Random(seed + 5, device), sizes.face_dim + POOLED_DIM, sizes.dim
    if version == "v1":
        encoder = random.perceptron("body", face, sizes.hidden, 5 * sizes.context)
        for state in range(5):
            for part in ("mapping", "mapping_patch"):
                encoder |= random.perceptron(f"{part}_{state}", sizes.seen_dim, sizes.hidden, sizes.context)
    else:
        encoder = {"latents": random.matrix(1, QUERIES, dim) * dim**0.5, "proj_out": random.matrix(dim, sizes.context)}
        for layer in range(LAYERS):
            encoder |= random.attention(f"layers.{layer}.0", dim, dim)
            encoder |= random.feed_forward(f"layers.{layer}.1", dim)
        for state in range(5):
            encoder |= random.perceptron(f"mapping_{state}", sizes.seen_dim, sizes.hidden, dim)
        encoder |= random.perceptron("id_embedding_mapping", face, sizes.hidden, 5 * dim)
    sites = {}
    for number, width in enumerate(sizes.sites):
        for layer in ("id_to_k", "id_to_v"):
            sites |= random.linear(f"{2 * number + 1}.{layer}", width, sizes.context, bias=False)
    return {"id_adapter": encoder, "id_adapter_attn_layers": sites}


def flat(nested: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Under dotted keys, as `pulid_v1.bin` and `pulid_v1.1.safetensors` are published."""
    return {f"{top}.{key}": tensor for top, part in nested.items() for key, tensor in part.items()}


def converted(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of `ip-adapter_pulid_sdxl_fp16.safetensors`, a conversion of version 1."""
    names = (("id_adapter_attn_layers.", "ip_adapter."), ("id_adapter.", "image_proj."))
    names += ((".id_to_k.", ".to_k_ip."), (".id_to_v.", ".to_v_ip."))
    renamed = {}
    for key, tensor in tensors.items():
        for old, new in names:
            key = key.replace(old, new)
        renamed[key] = tensor
    return renamed
