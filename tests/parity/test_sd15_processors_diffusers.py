"""The W+ adapter and FaceChain-FACT: ComfyUI with our nodes against diffusers' U-Net with the published processors.

diffusers says which number or name of the file is which block; the processors are written by the papers.
"""

import pytest
import torch
import torch.nn.functional as F
from host_cases import apply, conditioning, identity, loaded_adapter, randn, sample
from likeness.core.adapters import FaceInput

STEPS, CFG, WEIGHT, SIZE = 4, 4.5, 0.8, 16


def attend(attn, q, k, v):
    """softmax(q k^T / sqrt(d)) v, head by head."""
    return torch.cat([
        torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, -1) @ v
        for q, k, v in zip(*(part.chunk(attn.heads, -1) for part in (q, k, v)), strict=True)
    ], -1)  # fmt: skip


def text_attention(attn, x, text):
    return attend(attn, attn.to_q(x), attn.to_k(text), attn.to_v(text))


class WPlusProcessor:
    def __init__(self, tensors, number, tokens):
        weights = (tensors[f"{number}.to_{part}_wplus.weight"] for part in "qkv")
        (self.q, self.k, self.v), self.tokens = weights, tokens

    def __call__(self, attn, x, encoder_hidden_states=None, **_):
        h = text_attention(attn, x, encoder_hidden_states)
        h = h + WEIGHT * attend(attn, h @ self.q.T, self.tokens @ self.k.T, self.tokens @ self.v.T)
        return attn.to_out[0](h)


class FACTProcessor:
    """Takes the block's input un-normalised, as the published code does by taking the normalisation away."""

    def __init__(self, tensors, name, tokens, norm):
        self.value = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        assert len(self.value) == 17
        self.tokens, self.norm = tokens, norm

    def linear(self, x, name):
        return F.linear(x, self.value[f"{name}.weight"], self.value.get(f"{name}.bias"))

    def normal(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.value[f"{name}.weight"], self.value[f"{name}.bias"])

    def __call__(self, attn, x, encoder_hidden_states=None, **_):
        both = self.normal(torch.cat([x, self.linear(self.tokens, "linear")], 1), "norm1")
        seen = attend(attn, *(self.linear(both, f"attn.to_{part}") for part in "qkv"))
        h = x + WEIGHT * self.value["alpha_attn"].tanh() * self.linear(seen, "attn.to_out.0")[:, : x.shape[1]]
        into, gate = self.linear(self.normal(h, "norm2"), "ff.net.0.proj").chunk(2, -1)
        h = h + WEIGHT * self.value["alpha_dense"].tanh() * self.linear(into * F.gelu(gate), "ff.net.2")
        return attn.to_out[0](text_attention(attn, self.norm(h), encoder_hidden_states)) + h - x


def wplus_reference(unet, nested, tokens):
    processors = dict(unet.attn_processors)
    for number, name in enumerate(processors):
        if "attn2" in name:
            processors[name] = WPlusProcessor(nested["wplus_adapter"], number, tokens)
    unet.set_attn_processor(processors)


def fact_reference(unet, nested, tokens):
    tensors = {f"{top}.{key}": tensor for top, part in nested.items() for key, tensor in part.items()}
    processors = dict(unet.attn_processors)
    for name in processors:
        if "attn2" in name:
            block = unet.get_submodule(name.removesuffix(".attn2.processor"))
            processors[name] = FACTProcessor(tensors, name, tokens, block.norm2)
            block.norm2 = torch.nn.Identity()
    unet.set_attn_processor(processors)


def files():
    from tiny.fact import FACE_DIM as PATCHES
    from tiny.fact import nested
    from tiny.wplus import FACE_DIM as CODE
    from tiny.wplus import wplus

    return {
        "wplus": (wplus(), CODE, "e4e-x:0", wplus_reference),
        "fact": (nested(), PATCHES, "transface-x:0", fact_reference),
    }


@pytest.mark.parametrize("family", ["wplus", "fact"])
def test_the_whole_forward_agrees(comfyui, family):
    from parity.diffusers_reference import denoise, unet_like
    from tiny.unet import unet

    nested, dim, space, use = files()[family]
    loaded, person = loaded_adapter(nested), identity(seed=7, dim=dim, space=space)
    positive, negative = conditioning("sd15", seed=1), conditioning("sd15", seed=2)
    model = unet("sd15")
    patched = apply(model, positive, negative, loaded, person, weight=WEIGHT)
    shape, factor = (1, 4, SIZE, SIZE), model.model.latent_format.scale_factor
    ours = sample(*patched, steps=STEPS, cfg=CFG, shape=shape) * factor

    module = loaded.patcher.model
    vectors = person.vectors if loaded.spec.each > 1 else person.vector[None]
    tokens = torch.cat([module.project(FaceInput(one)) for one in (torch.zeros_like(vectors), vectors)])
    reference = unet_like(unet("sd15"))
    text, noise = torch.cat([negative[0][0], positive[0][0]]), randn(*shape, seed=1)
    plain = denoise(reference, noise, text, {}, CFG, STEPS, tokens, WEIGHT)
    use(reference, nested, tokens)
    theirs = denoise(reference, noise, text, {}, CFG, STEPS, tokens, WEIGHT)
    difference = (ours - theirs).abs().max().item()
    print(f"\n{family}: max difference {difference:.1e}, std {ours.std():.2f}")
    assert difference <= 1e-4 and (theirs - plain).abs().max() > 1e-2
