"""FaceChain-FACT: its files, its projection and its gates against the published formulas, written out with numpy."""

import numpy as np
import pytest
import torch
from likeness.core.adapters import FaceInput, load_adapter
from likeness.core.weights import WeightFile, read_weights
from safetensors.torch import save_file
from tiny.fact import BLOCKS, FACE_DIM, PATCHES, WIDTH, fact
from tiny.files import SITE_WIDTHS


@pytest.fixture
def tensors():
    return fact()


def load(tensors, name="anna.ckpt", **options):
    return load_adapter(WeightFile(name, tensors), **options)


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_the_file_says_about_itself(tensors):
    spec = load(tensors).spec
    assert (spec.family, spec.face_dim, spec.tokens, spec.token_dim) == ("fact", FACE_DIM, 16, 48)
    assert spec.site_widths == tuple(SITE_WIDTHS["sd15"]) and spec.default_weight == 0.5 and spec.each > 1
    about = spec.about("anna.ckpt")
    for words in ("FaceChain-FACT adapter (anna.ckpt)", "16 attention sites", "ms1mv2_model_TransFace_S.pt"):
        assert words in about, words


def test_flat_nested_renamed_and_with_more_in_it_are_one(tmp_path, tensors):
    expected = load(tensors)
    torch.save(tensors, tmp_path / "a.ckpt")
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "b.ckpt")
    save_file(tensors, tmp_path / "c.safetensors")
    for path in tmp_path.iterdir():
        assert same(load_adapter(read_weights(path)), expected), path
    projection = [key for key in tensors if key.startswith("local_fac_prj.")]
    turned = {key: tensors[key] for key in (*reversed(list(tensors.keys() - set(projection))), *projection)}
    assert same(load(turned), expected)
    unet = {key if key in projection else f"unet.{key}": tensor for key, tensor in tensors.items()}
    more = {"face_transformer.norm.weight": torch.ones(3)}
    more |= {f"{block}.transformer_blocks.0.attn2.processor.ln.weight": torch.ones(4) for block in BLOCKS}
    more["down_blocks.0.resnets.0.conv1.weight"] = torch.ones(2)  # the U-Net's, which has the gates' first names
    assert same(load(unet | more), expected)
    assert "Left aside: 18 tensors that it has no use for" in load(unet | more).spec.about("anna.ckpt")
    assert same(load({f"module.{key}": tensor for key, tensor in tensors.items()}), expected)


def norm(x, tensors, prefix):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x * tensors[f"{prefix}.weight"] + tensors[f"{prefix}.bias"]


def gelu(x):
    return x * torch.special.ndtr(torch.from_numpy(x)).numpy()


def attention(q, k, v, heads):
    outputs = []
    for head in np.split(np.arange(q.shape[-1]), heads):
        scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(len(head)))
        outputs.append(scores / scores.sum(-1, keepdims=True) @ v[:, head])
    return np.concatenate(outputs, -1)


def projected(patches, tensors):
    """[144, WIDTH] -> [16, 48]: a Resampler of two layers with one head of 64."""
    value = {key.removeprefix("local_fac_prj."): t for key, t in tensors.items() if key.startswith("local_fac_prj.")}
    x, z = patches @ value["proj_in.weight"].T + value["proj_in.bias"], value["latents"][0]
    for layer in ("layers.0", "layers.1"):
        seen, asking = norm(x, value, f"{layer}.0.norm1"), norm(z, value, f"{layer}.0.norm2")
        k, v = np.split(np.concatenate([seen, asking]) @ value[f"{layer}.0.to_kv.weight"].T, 2, -1)
        looked = attention(asking @ value[f"{layer}.0.to_q.weight"].T, k, v, heads=1)
        z = z + looked @ value[f"{layer}.0.to_out.weight"].T
        hidden = gelu(norm(z, value, f"{layer}.1.0") @ value[f"{layer}.1.1.weight"].T)
        z = z + hidden @ value[f"{layer}.1.3.weight"].T
    return norm(z @ value["proj_out.weight"].T + value["proj_out.bias"], value, "norm_out")


def test_tokens_are_the_published_ones(tensors):
    patches = torch.randn(2, PATCHES, WIDTH, generator=torch.Generator().manual_seed(1))
    tokens = load(tensors).project(FaceInput(patches.flatten(1)))
    assert tokens.shape == (1, 32, 48)
    value = {key: tensor.double().numpy() for key, tensor in tensors.items()}
    expected = np.concatenate([projected(one, value) for one in patches.double().numpy()])
    assert np.abs(tokens[0].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("number", [0, 8, 15])
def test_a_gate_is_the_published_one(tensors, number, device, dtype):
    """Rows of the batch: unconditional, conditional, two pictures each; [x, face] is normalised and seen as a whole."""
    heads, weight, width = 8, 0.7, SITE_WIDTHS["sd15"][number]
    stem = f"{BLOCKS[number]}.transformer_blocks.0.attn2.processor."
    value = {key.removeprefix(stem): t.double().numpy() for key, t in tensors.items() if key.startswith(stem)}
    generator = torch.Generator().manual_seed(3)
    tokens, x = torch.randn(2, 16, 48, generator=generator), torch.randn(4, 9, width, generator=generator)
    gate = load(tensors, device=device, dtype=dtype).sites(tokens.to(device, dtype))[number].scaled(weight)
    inside = x.to(device, dtype)
    added = gate(inside, inside, [1, 0], heads).double().cpu().numpy()
    for row in range(4):
        h = x[row].double().numpy()
        face = tokens[row // 2].double().numpy() @ value["linear.weight"].T + value["linear.bias"]
        both = norm(np.concatenate([h, face]), value, "norm1")
        seen = attention(*(both @ value[f"attn.to_{part}.weight"].T for part in "qkv"), heads)
        out = (seen @ value["attn.to_out.0.weight"].T + value["attn.to_out.0.bias"])[: len(h)]
        after = h + weight * np.tanh(value["alpha_attn"]) * out
        into, by = np.split(norm(after, value, "norm2") @ value["ff.net.0.proj.weight"].T + value["ff.net.0.proj.bias"],
                            2, -1)  # fmt: skip
        dense = (into * gelu(by)) @ value["ff.net.2.weight"].T + value["ff.net.2.bias"]
        after = after + weight * np.tanh(value["alpha_dense"]) * dense
        assert np.abs(h + added[row] - after).max() < (1e-4 if dtype == torch.float32 else 0.1)


def test_a_bank_holds_keys_and_values_alone(tensors):
    module = load(tensors)
    bank = torch.nn.ModuleList(module.sites(torch.zeros(2, 16, 48))).to(torch.bfloat16)
    assert {name.split(".")[-1] for name, _ in bank.named_parameters()} == {"k", "v"}
    assert same(module, load(tensors)) and {p.dtype for p in module.parameters()} == {torch.float32}
