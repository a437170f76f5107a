"""Tiny PuLID adapters for SDXL and FLUX in the published layouts, with random weights."""

import torch

from .files import CONTEXT_DIM, SITE_WIDTHS

FACE_DIM, SEEN_DIM, HIDDEN, DIM = 128, 64, 32, 64  # of a face vector, EVA's hidden states, the perceptrons, IDFormer
POOLED_DIM = 768  # numbers of EVA-CLIP's embedding of the whole picture
QUERIES, LAYERS = 32, 10
TOKEN_DIM, INNER = 48, 128  # of PuLID for FLUX


class Random:
    """Weights of a sane scale, the same for the same seed."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator)

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


def pulid(version: str = "v1", seed: int = 0, face_dim: int = FACE_DIM) -> dict[str, dict[str, torch.Tensor]]:
    """{"id_adapter": IDEncoder ("v1") or IDFormer ("v1.1"), "id_adapter_attn_layers": K and V of each site}."""
    random, face, context = Random(seed + 5), face_dim + POOLED_DIM, CONTEXT_DIM["sdxl"]
    if version == "v1":
        encoder = random.perceptron("body", face, HIDDEN, 5 * context)
        for state in range(5):
            for part in ("mapping", "mapping_patch"):
                encoder |= random.perceptron(f"{part}_{state}", SEEN_DIM, HIDDEN, context)
    else:
        encoder = _former(random, face, context)
    sites = {}
    for number, width in enumerate(SITE_WIDTHS["sdxl"]):
        for layer in ("id_to_k", "id_to_v"):
            sites |= random.linear(f"{2 * number + 1}.{layer}", width, context, bias=False)
    return {"id_adapter": encoder, "id_adapter_attn_layers": sites}


def _former(random, face, output):
    """IDFormer."""
    encoder = {"latents": random.matrix(1, QUERIES, DIM) * DIM**0.5, "proj_out": random.matrix(DIM, output)}
    for layer in range(LAYERS):
        encoder |= random.attention(f"layers.{layer}.0", DIM, DIM)
        encoder |= random.feed_forward(f"layers.{layer}.1", DIM)
    for state in range(5):
        encoder |= random.perceptron(f"mapping_{state}", SEEN_DIM, HIDDEN, DIM)
    return encoder | random.perceptron("id_embedding_mapping", face, HIDDEN, 5 * DIM)


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


def pulid_flux(seed: int = 0, face_dim: int = FACE_DIM, width: int = 64) -> dict[str, dict[str, torch.Tensor]]:
    """{"pulid_encoder": IDFormer, "pulid_ca": 20 cross-attentions} for FLUX of a width."""
    random = Random(seed + 9)
    attentions = {}
    for number in range(20):
        attentions |= random.norm(f"{number}.norm1", TOKEN_DIM) | random.norm(f"{number}.norm2", width)
        attentions |= random.linear(f"{number}.to_q", INNER, width, bias=False)
        attentions |= random.linear(f"{number}.to_kv", 2 * INNER, TOKEN_DIM, bias=False)
        attentions |= random.linear(f"{number}.to_out", width, INNER, bias=False)
    return {"pulid_encoder": _former(random, face_dim + POOLED_DIM, TOKEN_DIM), "pulid_ca": attentions}
