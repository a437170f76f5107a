"""MasterWeaver's adapter: recognised in every container, and the published encoder written out."""

import pytest
import torch
from likeness.core.adapters import FaceInput, Seen, load_adapter
from likeness.core.weights import WeightFile
from tiny.files import SITE_WIDTHS
from tiny.ip_adapter import flat
from tiny.masterweaver import SEEN_DIM, masterweaver


@pytest.fixture(scope="module")
def nested():
    return masterweaver()


@pytest.fixture(scope="module")
def module(nested):
    return load(flat(nested))


def load(tensors, **options):
    return load_adapter(WeightFile("anna.pt", tensors), **options)


def seen(count, seed):
    return Seen((torch.randn(count, 10, SEEN_DIM, generator=torch.Generator().manual_seed(seed)),))


def norm(tensors, key, x):
    mean, spread = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (spread + 1e-5).sqrt() * tensors[f"{key}.weight"] + tensors[f"{key}.bias"]


def attention(tensors, key, queries, keys):
    """One head of 64 numbers on rows that are normalised already."""
    q = queries @ tensors[f"{key}.to_q.weight"].T
    k, v = (keys @ half.T for half in tensors[f"{key}.to_kv.weight"].chunk(2))
    return torch.softmax(q @ k.T / 8, -1) @ v @ tensors[f"{key}.to_out.weight"].T


def tokens_of_one(tensors, hidden):
    """hidden [S,SEEN_DIM] -> [16,48]."""
    x = hidden @ tensors["proj_in.weight"].T + tensors["proj_in.bias"]
    latents = tensors["latents"][0]
    queries = norm(tensors, "layers.0.0.norm2", latents)
    keys = torch.cat([norm(tensors, "layers.0.0.norm1", x), queries])
    looked = attention(tensors, "layers.0.0", queries, keys)
    inner = norm(tensors, "layers.0.1.0", looked) @ tensors["layers.0.1.1.weight"].T
    inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
    latents = latents + inner @ tensors["layers.0.1.3.weight"].T
    latents = norm(tensors, "norm_out", latents @ tensors["proj_out.weight"].T + tensors["proj_out.bias"])
    queries, keys = norm(tensors, "final_attn.norm2", latents), norm(tensors, "final_attn.norm1", latents)
    return latents + attention(tensors, "final_attn", queries, keys)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_photographs_in_turn_and_the_empty_picture_for_those_that_miss(nested, module, count):
    photographs, empty = seen(count, 1), seen(1, 2)
    rows = [*photographs.hidden[0], *[empty.hidden[0][0]] * (3 - count)]
    expected = torch.cat([tokens_of_one(nested["id_encoder"], row) for row in rows])
    tokens = module.project(FaceInput(None, photographs, empty))
    torch.testing.assert_close(tokens[0], expected, atol=1e-4, rtol=1e-4)


def test_keys_and_values_are_the_files_own(nested, module):
    tokens = torch.randn(2, 48, 48)
    sites = nested["adapter_modules"]
    for number, (k, v) in zip(range(1, 32, 2), module.keys_values(tokens), strict=True):
        torch.testing.assert_close(k, tokens @ sites[f"{number}.to_k_img.weight"].T)
        torch.testing.assert_close(v, tokens @ sites[f"{number}.to_v_img.weight"].T)


def test_what_the_file_says_about_itself(module):
    spec = module.spec
    assert (spec.family, spec.face_dim, spec.each, spec.default_weight) == ("masterweaver", 0, 3, 1.0)
    assert spec.site_widths == tuple(SITE_WIDTHS["sd15"])
    about = spec.about("anna.pt")
    for words in ("MasterWeaver", "16 per photograph, up to 3", "CLIP-ViT-L-14", "Apache-2.0"):
        assert words in about


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(nested, module, dtype):
    photographs, empty = seen(1, 1), seen(1, 2)
    exact = module.project(FaceInput(None, photographs, empty))
    half = load({key: tensor.to(dtype) for key, tensor in flat(nested).items()})
    face = FaceInput(None, photographs.map(lambda t: t.to(dtype)), empty.map(lambda t: t.to(dtype)))
    assert torch.cosine_similarity(half.project(face).float(), exact, dim=-1).min() > 0.999
