"""PuLID's adapters for SDXL: recognised under every name, and the published encoders written out."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from likeness.core.adapters import METHODS, Choices, FaceInput, Seen, load_adapter
from likeness.core.attention.residuals import Ortho, OrthoV2, ZeroPadded
from likeness.core.weights import WeightFile, WeightsError
from tiny.files import SITE_WIDTHS
from tiny.ip_adapter import flat
from tiny.pulid import DIM, FACE_DIM, POOLED_DIM, SEEN_DIM, pulid

PATCHES = 9


def load(tensors, **options):
    return load_adapter(WeightFile("anna.safetensors", tensors), **options)


@cache
def tiny(version):
    """The tiny adapter, and its encoder's tensors."""
    nested = pulid(version)
    return load(flat(nested)), nested["id_adapter"]


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def person(photographs=1, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    vectors = scale * torch.randn(photographs, FACE_DIM, generator=generator)
    hidden = [scale * torch.randn(photographs, 1 + PATCHES, SEEN_DIM, generator=generator) for _ in range(5)]
    return FaceInput(vectors, Seen(tuple(hidden), scale * torch.randn(photographs, POOLED_DIM, generator=generator)))


def perceptron(tensors, key, x):
    for number in (0, 3):
        x = x @ tensors[f"{key}.{number}.weight"].T + tensors[f"{key}.{number}.bias"]
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        x = x * tensors[f"{key}.{number + 1}.weight"] + tensors[f"{key}.{number + 1}.bias"]
        x = torch.where(x > 0, x, 0.01 * x)
    return x @ tensors[f"{key}.6.weight"].T + tensors[f"{key}.6.bias"]


def norm(tensors, key, x):
    return F.layer_norm(x, x.shape[-1:], tensors[f"{key}.weight"], tensors[f"{key}.bias"])


def perceiver_layer(tensors, layer, context, latents):
    """One layer of IDFormer on [T,dim], head by head; latents look at the context and at themselves."""
    key = f"layers.{layer}.0"
    context, queries = norm(tensors, f"{key}.norm1", context), norm(tensors, f"{key}.norm2", latents)
    q = queries @ tensors[f"{key}.to_q.weight"].T
    k, v = (torch.cat([context, queries]) @ part.T for part in tensors[f"{key}.to_kv.weight"].chunk(2))
    heads = []
    for q_head, k_head, v_head in zip(*(t.split(64, dim=-1) for t in (q, k, v)), strict=True):
        heads.append(torch.softmax(q_head @ k_head.T / 8, dim=-1) @ v_head)
    latents = latents + torch.cat(heads, dim=-1) @ tensors[f"{key}.to_out.weight"].T
    inner = norm(tensors, f"layers.{layer}.1.0", latents) @ tensors[f"layers.{layer}.1.1.weight"].T
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    return latents + inner @ tensors[f"layers.{layer}.1.3.weight"].T


def condition(face):
    pooled = face.seen.pooled
    lengths = pooled.square().sum(-1, keepdim=True).sqrt()
    return torch.cat([face.vectors, torch.where(lengths > 0, pooled / lengths, pooled)], dim=-1)


def id_encoder(tensors, face):
    """Version 1's tokens for one photograph [10,D]."""
    tokens = list(perceptron(tensors, "body", condition(face)[0]).chunk(5))
    for state, hidden in enumerate(face.seen.hidden):
        patches = torch.stack([perceptron(tensors, f"mapping_patch_{state}", patch) for patch in hidden[0, 1:]])
        tokens.append(perceptron(tensors, f"mapping_{state}", hidden[0, 0]) + patches.mean(0))
    return torch.stack(tokens)


def id_former(tensors, face):
    """Version 1.1's tokens for any number of photographs [32,D]."""
    x = torch.cat([one.view(5, DIM) for one in perceptron(tensors, "id_embedding_mapping", condition(face))])
    latents = torch.cat([tensors["latents"][0], x])
    for state, hidden in enumerate(face.seen.hidden):
        context = torch.cat([x, *(perceptron(tensors, f"mapping_{state}", one) for one in hidden)])
        for layer in (2 * state, 2 * state + 1):
            latents = perceiver_layer(tensors, layer, context, latents)
    return latents[:32] @ tensors["proj_out"]


REFERENCES = {"v1": id_encoder, "v1.1": id_former}


@pytest.mark.parametrize("version", REFERENCES)
@pytest.mark.parametrize("scale", [1.0, 0.0], ids=["a person", "nobody"])
def test_projection(version, scale):
    module, tensors = tiny(version)
    face = person(scale=scale)
    torch.testing.assert_close(module.project(face)[0], REFERENCES[version](tensors, face), atol=1e-4, rtol=1e-4)


def test_several_photographs_make_one_set_of_tokens():
    (module, tensors), face = tiny("v1.1"), person(3)
    tokens = module.project(face)
    assert tokens.shape == (1, 32, 64)
    torch.testing.assert_close(tokens[0], id_former(tensors, face), atol=1e-4, rtol=1e-4)
    assert "32, from up to 4 photographs" in module.spec.about("anna.safetensors")


@pytest.mark.parametrize("equal", [False, True], ids=["auto", "concat"])
def test_several_photographs_of_version_1(equal):
    """All 10 tokens of the first, of each further one the 5 of its face; of people who are mixed, all of everyone."""
    (module, tensors), face = tiny("v1"), person(3)
    alone = [FaceInput(face.vectors[[n]], face.seen.map(lambda rows, n=n: rows[[n]])) for n in range(3)]
    expected = [id_encoder(tensors, one) for one in alone]
    if not equal:
        expected[1:] = [tokens[:5] for tokens in expected[1:]]
    tokens = module.project(FaceInput(face.vectors, face.seen, equal=equal))[0]
    torch.testing.assert_close(tokens, torch.cat(expected), atol=1e-4, rtol=1e-4)
    assert len(tokens) == (30 if equal else 20)
    assert "10, and 5 for each further photograph, up to 4" in module.spec.about("anna.safetensors")


@pytest.mark.parametrize(("version", "tokens"), [("v1", 10), ("v1.1", 32)])
def test_what_the_file_says_about_itself(version, tokens):
    spec = tiny(version)[0].spec
    assert (spec.family, spec.tokens, spec.token_dim, spec.face_dim) == ("pulid", tokens, 64, FACE_DIM)
    assert spec.site_widths == tuple(SITE_WIDTHS["sdxl"]) and spec.default_weight == 0.8 and not spec.normalised
    about = spec.about("anna.safetensors")
    for words in ("PuLID v1.1 adapter" if version == "v1.1" else "PuLID adapter", "EVA02-CLIP-L-14-336", "InsightFace"):
        assert words in about


@pytest.mark.parametrize("layers", [7, 12])
def test_layers_that_no_five_states_share(layers):
    tensors = flat(pulid("v1.1"))
    tensors[f"id_adapter.layers.{layers}.0.to_q.weight"] = torch.ones(1)
    if layers == 7:
        beyond = ("id_adapter.layers.8", "id_adapter.layers.9")
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(beyond)}
    with pytest.raises(WeightsError, match="don't fit together"):
        load(tensors)


@pytest.mark.parametrize("version", REFERENCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(version, dtype):
    tensors, face = flat(pulid(version)), person()
    exact = tiny(version)[0].project(face)
    face = FaceInput(face.vectors.to(dtype), face.seen.map(lambda rows: rows.to(dtype)))
    half = load({key: tensor.to(dtype) for key, tensor in tensors.items()}).project(face)
    assert half.dtype == dtype
    assert F.cosine_similarity(half.float(), exact, dim=-1).min() > 0.999


def test_methods_choose_what_a_site_does():
    module = tiny("v1")[0]
    tokens = torch.cat([module.project(person(scale=scale)) for scale in (0.0, 1.0)])
    kinds = {"fidelity": (OrthoV2, 8), "style": (Ortho, 16), "plain": (ZeroPadded, 0)}
    assert tuple(kinds) == METHODS
    for method, (site, zeros) in kinds.items():
        sites = module.sites(tokens, Choices(method=method))
        assert len(sites) == 70 and {type(one) for one in sites} == {site}
        for one, (k, v) in zip(sites, module.keys_values(tokens), strict=True):
            assert torch.equal(one.k, torch.cat([F.pad(k, (0, 0, 0, zeros)), F.pad(k[:1], (0, 0, 0, zeros))]))
            assert one.v.shape == one.k.shape == (3, 10 + zeros, k.shape[-1]) and torch.equal(one.v[:2, :10], v)


def test_keys_and_values_are_the_files_own():
    tensors, module = flat(pulid("v1.1")), tiny("v1.1")[0]
    tokens = torch.cat([module.project(person(seed=seed)) for seed in (0, 1)])
    for number, (k, v) in zip(range(1, 140, 2), module.keys_values(tokens), strict=True):
        torch.testing.assert_close(k, tokens @ tensors[f"id_adapter_attn_layers.{number}.id_to_k.weight"].T)
        torch.testing.assert_close(v, tokens @ tensors[f"id_adapter_attn_layers.{number}.id_to_v.weight"].T)
