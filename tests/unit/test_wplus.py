"""The W+ adapter: its files, its projection and its sites against the formulas, written out with numpy."""

import numpy as np
import pytest
import torch
from likeness.core.adapters import FaceInput, load_adapter
from likeness.core.attention.residuals import AttendFromText
from likeness.core.weights import WeightFile, read_weights
from safetensors.torch import save_file
from tiny.files import SITE_WIDTHS
from tiny.ip_adapter import flat
from tiny.wplus import CODE, FACE_DIM, ROWS, wplus


@pytest.fixture
def tensors():
    return flat(wplus())


def load(tensors, name="anna.bin", **options):
    return load_adapter(WeightFile(name, tensors), **options)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_the_file_says_about_itself(tensors):
    module = load(tensors)
    spec = module.spec
    assert (spec.family, spec.face_dim, spec.tokens, spec.token_dim) == ("wplus", FACE_DIM, 4, 48)
    assert spec.site_widths == tuple(SITE_WIDTHS["sd15"]) and spec.default_weight == 1.0 and not spec.normalised
    about = spec.about("anna.bin")
    for words in (
        "W+ adapter (anna.bin)",
        "16 attention sites",
        "e4e_ffhq_encode.pt",
        "start_at 0.2",
        "non-commercial",
    ):
        assert words in about, words


def test_nested_flat_and_from_training_are_one(tmp_path, tensors):
    torch.save(wplus(), tmp_path / "a.bin")
    save_file(tensors, tmp_path / "a.safetensors")
    training = {"unet.conv_in.weight": torch.ones(2)}
    for key, tensor in tensors.items():
        training[key.replace("w_proj.", "w_proj_model.").replace("wplus_adapter.", "adapter_modules.")] = tensor
    expected = load(tensors)
    for name in ("a.bin", "a.safetensors"):
        assert same(load_adapter(read_weights(tmp_path / name)), expected)
    for prefix in ("", "module."):
        module = load({prefix + key: tensor for key, tensor in training.items()})
        assert same(module, expected)
        assert "Left aside: 1 tensor that it has no use for, such as 'unet.conv_in" in module.spec.about("anna.bin")


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def tokens_of(code, tensors):
    """[18, width] -> [4, token_dim], by the paper."""
    value = {key: tensor.double().numpy() for key, tensor in tensors.items() if key.startswith("w_proj.")}
    rows, made = np.cumsum((0, *ROWS)), []
    for number in range(4):
        part = code[rows[number] : rows[number + 1]].reshape(-1)
        made.append(value[f"w_proj.proj_{number}.weight"] @ part)
    return layer_norm(np.stack(made), value["w_proj.norm.weight"], value["w_proj.norm.bias"])


def test_tokens_are_the_papers(tensors):
    module, code = load(tensors), torch.randn(18, CODE, generator=torch.Generator().manual_seed(1))
    tokens = module.project(FaceInput(code.flatten()[None]))[0]
    assert np.abs(tokens.numpy() - tokens_of(code.double().numpy(), tensors)).max() < 1e-4
    nobody = module.project(FaceInput(torch.zeros(1, FACE_DIM)))[0]
    torch.testing.assert_close(nobody, tensors["w_proj.norm.bias"].expand(4, -1))


@pytest.mark.parametrize("number", [0, 7, 15])
def test_a_site_is_the_papers(tensors, number, device, dtype):
    """Queries of what the attention to the prompt gave; rows of the batch: unconditional, conditional."""
    module, heads, width = load(tensors), 4, SITE_WIDTHS["sd15"][number]
    generator = torch.Generator().manual_seed(2)
    tokens = torch.stack([torch.randn(4, 48, generator=generator) for _ in range(2)])
    text = torch.randn(2, 10, width, generator=generator)
    site = module.sites(tokens)[number].scaled(0.7).to(device, dtype)
    assert isinstance(site, AttendFromText)
    added = site(torch.full_like(text, 9.0).to(device, dtype), text.to(device, dtype), [1, 0], heads)
    weight = {
        part: tensors[f"wplus_adapter.{2 * number + 1}.to_{part}_wplus.weight"].double().numpy() for part in "qkv"
    }
    for row in range(2):
        q = (text[row].double().numpy() @ weight["q"].T).reshape(10, heads, -1)
        k, v = ((tokens[row].double().numpy() @ weight[part].T).reshape(4, heads, -1) for part in "kv")
        for head in range(heads):
            scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(q.shape[2]))
            expected = 0.7 * (scores / scores.sum(1, keepdims=True)) @ v[:, head]
            got = added[row].reshape(10, heads, -1)[:, head].double().cpu().numpy()
            assert np.abs(got - expected).max() < (1e-4 if dtype == torch.float32 else 0.1)


def test_a_bank_changes_nothing_of_the_adapter(tensors):
    module = load(tensors)
    for site in module.sites(torch.zeros(2, 4, 48)):
        site.scaled(0.0).to(torch.bfloat16)
    assert same(module, load(tensors)) and {p.dtype for p in module.parameters()} == {torch.float32}
