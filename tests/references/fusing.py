"""Layers and formulas of PhotoMaker's and ConsistentID's encoders, written out plainly over a checkpoint's tensors."""

import torch


def norm(x, tensors, name):
    """Layer normalisation by its definition."""
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def linear(x, tensors, name):
    return x @ tensors[f"{name}.weight"].T + tensors.get(f"{name}.bias", 0)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def fused(words, tokens, tensors, prefix="fuse_module."):
    """PhotoMaker's equation 1, with the residuals of the published weights' code."""
    stacked = torch.cat([words, tokens], -1)
    hidden = gelu(linear(norm(stacked, tensors, f"{prefix}mlp1.layernorm"), tensors, f"{prefix}mlp1.fc1"))
    first = linear(hidden, tensors, f"{prefix}mlp1.fc2") + words
    hidden = gelu(linear(norm(first, tensors, f"{prefix}mlp2.layernorm"), tensors, f"{prefix}mlp2.fc1"))
    return norm(linear(hidden, tensors, f"{prefix}mlp2.fc2") + first, tensors, f"{prefix}layer_norm")


def perceiver_layer(x, latents, tensors, prefix, dim_head):
    """Latents [N,Q,D] after looking at x [N,S,D] and at themselves, head by head, and after their MLP."""
    x, queries = norm(x, tensors, f"{prefix}0.norm1"), norm(latents, tensors, f"{prefix}0.norm2")
    q = linear(queries, tensors, f"{prefix}0.to_q")
    k, v = linear(torch.cat([x, queries], 1), tensors, f"{prefix}0.to_kv").chunk(2, -1)
    heads = []
    for start in range(0, q.shape[-1], dim_head):
        part = slice(start, start + dim_head)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / dim_head**0.5).softmax(-1)
        heads.append(weights @ v[..., part])
    latents = latents + linear(torch.cat(heads, -1), tensors, f"{prefix}0.to_out")
    hidden = gelu(linear(norm(latents, tensors, f"{prefix}1.0"), tensors, f"{prefix}1.1"))
    return latents + linear(hidden, tensors, f"{prefix}1.3")
