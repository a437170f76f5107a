"""Identity adapters from files: what loads, loads the same whatever it is wrapped in; what doesn't, says why."""

from types import SimpleNamespace

import pytest
import torch
from likeness.core.adapters import FaceInput, load_adapter
from likeness.core.weights import WeightFile, WeightsError, kind_of, read_weights
from safetensors.torch import save_file
from tiny.families import FILES, family
from tiny.files import FACE_SPACE, SITE_WIDTHS, instantid
from tiny.ip_adapter import flat
from torch import nn


@pytest.fixture
def tensors():
    """A whole InstantID adapter for SD1.5's layout under its published keys."""
    return flat(instantid("sd15"))


def load(tensors, name="anna.safetensors", metadata=None, **options):
    return load_adapter(WeightFile(name, tensors, metadata or {}), **options)


def complaint(tensors):
    with pytest.raises(WeightsError) as caught:
        load(tensors)
    text = str(caught.value)
    assert text.startswith("anna.safetensors ") and ";" in text and text.endswith("."), text
    return text


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_what_the_file_says_about_itself(kind):
    module = load(flat(instantid(kind)), metadata={"likeness.face_space": FACE_SPACE, "license": "MIT"})
    spec = module.spec
    assert spec.family == "instantid" and spec.site_widths == tuple(SITE_WIDTHS[kind])
    assert (spec.face_space, spec.face_dim, spec.tokens) == (FACE_SPACE, 128, 16)
    assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())
    about = spec.about("anna.safetensors")
    for words in ("InstantID", "anna.safetensors", f"{len(SITE_WIDTHS[kind])} attention sites", FACE_SPACE, "MIT"):
        assert words in about


def test_the_modules_use_the_files_own_numbers(tensors):
    module = load(tensors)
    tokens = torch.cat([module.project(FaceInput(torch.randn(1, 128))) for _ in range(2)])
    pairs = module.keys_values(tokens)
    assert tokens.shape == (2, 16, 48) and len(pairs) == 16
    for number, (k, v) in zip(range(1, 32, 2), pairs, strict=True):
        torch.testing.assert_close(k, tokens @ tensors[f"ip_adapter.{number}.to_k_ip.weight"].T)
        torch.testing.assert_close(v, tokens @ tensors[f"ip_adapter.{number}.to_v_ip.weight"].T)


def test_faces_of_512_numbers_are_antelopev2s(tensors):
    tensors["image_proj.proj_in.weight"] = torch.randn(64, 512)
    assert load(tensors).spec.face_space == "antelopev2-glintr100"
    tensors["image_proj.proj_in.weight"] = torch.randn(64, 96)
    assert load(tensors).spec.face_space is None


@pytest.mark.parametrize("name", FILES)
def test_every_container_gives_the_same_adapter(tmp_path, name):
    """Nested and flat pickles of both kinds, a checkpoint, safetensors, and a wrapper's names."""
    tensors = family(name)
    torch.save(FILES[name](), tmp_path / "nested.bin")
    torch.save(tensors, tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "checkpoint.bin")
    save_file(tensors, tmp_path / "flat.safetensors")
    save_file({f"module.{key}": tensor for key, tensor in tensors.items()}, tmp_path / "wrapped.safetensors")
    expected = load(tensors)
    assert kind_of(tensors) in {known.kind for known in expected.known}
    for path in tmp_path.iterdir():
        module = load_adapter(read_weights(path))
        assert same(module, expected) and module.spec == expected.spec, path.name
        ours, theirs = module.lora, expected.lora
        assert (ours.by_site.keys(), ours.by_name.keys()) == (theirs.by_site.keys(), theirs.by_name.keys())
        assert all(all(map(torch.equal, ours.by_site[key], theirs.by_site[key])) for key in ours.by_site)
        assert all(torch.equal(ours.by_name[key], theirs.by_name[key]) for key in ours.by_name)


def test_the_conversion_of_pulid_is_pulid():
    one, other = load(family("pulid-v1-converted")), load(family("pulid-v1"))
    assert same(one, other) and one.spec == other.spec


def test_files_of_several_precisions_keep_the_widest(tensors):
    """The published mix: the projection in single and the sites in half precision."""
    mixed = {key: tensor.half() if key.startswith("ip_adapter.") else tensor for key, tensor in tensors.items()}
    assert {parameter.dtype for parameter in load(mixed).parameters()} == {torch.float32}


def test_a_module_keeps_nothing_of_its_file(tmp_path, tensors):
    save_file(tensors, tmp_path / "a.safetensors")
    module = load_adapter(read_weights(tmp_path / "a.safetensors"))
    (tmp_path / "a.safetensors").write_bytes(b"")  # tensors mapped from the file would end the process when read
    assert same(module, load(tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_precision_is_the_files_or_as_asked(tensors, dtype):
    stored = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    assert {parameter.dtype for parameter in load(stored).parameters()} == {dtype}
    assert {parameter.dtype for parameter in load(tensors, dtype=dtype).parameters()} == {dtype}


def test_layers_come_from_the_operations_given(tensors):
    class Linear(nn.Linear):
        pass

    class LayerNorm(nn.LayerNorm):
        pass

    module = load(tensors, operations=SimpleNamespace(Linear=Linear, LayerNorm=LayerNorm))
    layers = [type(part) for part in module.modules() if isinstance(part, nn.Linear | nn.LayerNorm)]
    assert set(layers) == {Linear, LayerNorm}


@pytest.mark.parametrize("outer", ["", "module.", "model.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("projection", ["image_proj.", "image_proj_model."])
@pytest.mark.parametrize("sites", ["ip_adapter.", "adapter_modules."])
def test_training_time_names_load(tensors, outer, projection, sites):
    def renamed(key):
        return outer + key.replace("image_proj.", projection).replace("ip_adapter.", sites)

    assert same(load({renamed(key): tensor for key, tensor in tensors.items()}), load(tensors))


def test_parts_that_were_compiled_one_by_one_load(tensors):
    compiled = {key.replace(".", "._orig_mod.", 1): tensor for key, tensor in tensors.items()}
    assert compiled.keys() != tensors.keys() and same(load(compiled), load(tensors))


def test_one_tensor_under_two_names(tensors):
    """As in checkpoints that keep the weights and their moving average."""
    text = complaint(tensors | {"model.image_proj.norm_out.bias": torch.zeros(48)})
    assert "holds 'image_proj.norm_out.bias' twice" in text and "as 'model.image_proj.norm_out.bias'" in text


@pytest.mark.parametrize("metadata", [{}, {"likeness.face_space": FACE_SPACE}, {"likeness.training": "{}"}], ids=str)
@pytest.mark.parametrize("sites", [1, 2, 9])
def test_a_file_cut_by_whole_sites_is_refused_whatever_it_says_of_itself(tensors, sites, metadata):
    """Facelets' own number of sites, which 9 fewer are, has other widths.

    Not even what only Facelets' own file says of itself makes a difference.
    """
    for number in range(33 - 2 * sites, 33, 2):
        del tensors[f"ip_adapter.{number}.to_k_ip.weight"], tensors[f"ip_adapter.{number}.to_v_ip.weight"]
    with pytest.raises(WeightsError, match=f"its {16 - sites} attention sites fit none of SD1.5"):
        load(tensors, metadata=metadata)


@pytest.mark.parametrize("number", [1, 15, 29])
def test_a_site_that_is_missing(tensors, number):
    """A site in the middle would leave all behind it on the wrong layers."""
    del tensors[f"ip_adapter.{number}.to_k_ip.weight"], tensors[f"ip_adapter.{number}.to_v_ip.weight"]
    assert f"incomplete: it lacks 'ip_adapter.{number}.to_k_ip.weight'" in complaint(tensors)


def test_every_tensor_is_needed(tensors):
    for key in tensors:
        left = {other: tensor for other, tensor in tensors.items() if other != key}
        text = complaint(left)
        assert key in text or "is an IP-Adapter Plus" in text or "nothing here recognises" in text, (key, text)


def test_tensors_too_many(tensors):
    tensors["image_proj.layers.0.0.to_gate.weight"] = torch.ones(2)
    text = complaint(tensors)
    assert "has tensors too many, 1 of them" in text and "image_proj.layers.0.0.to_gate.weight" in text


def test_every_wrong_shape_is_refused(tensors):
    for key, tensor in tensors.items():
        narrower = tensor[..., :-1] if key != "image_proj.proj_in.weight" else tensor[:-1]  # its width is the face's
        for wrong in (narrower, tensor.unsqueeze(0), torch.tensor(1.0), torch.zeros(0)):
            with pytest.raises(WeightsError, match=r"^anna.safetensors .*; .*\.$"):
                load({**tensors, key: wrong.clone()})


def test_an_attention_width_that_no_head_divides(tensors):
    for width in (0, 63, 96):
        for layer in range(4):
            tensors |= {
                f"image_proj.layers.{layer}.0.to_q.weight": torch.zeros(width, 64),
                f"image_proj.layers.{layer}.0.to_kv.weight": torch.zeros(2 * width, 64),
                f"image_proj.layers.{layer}.0.to_out.weight": torch.zeros(64, width),
            }
        assert "don't fit together" in complaint(tensors)


def test_whole_numbers_are_no_weights(tensors):
    assert "don't fit together" in complaint({key: tensor.long() for key, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["model.diffusion_model.out.0.weight", "first_stage_model.encoder.conv_in.weight"], "a full checkpoint"),
        (["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA"),
        (["decoder.conv_in.weight"], "a VAE"),
        (["controlnet_cond_embedding.conv_in.weight"], "a ControlNet"),
        (
            ["image_proj.cross_layer_blocks.0.norm1.weight", "ip_adapter.0.to_k_ip.weight"],
            "an InstantCharacter adapter",
        ),
        (
            ["double_blocks.0.processor.qkv_lora1.down.weight", "single_blocks.37.processor.qkv_lora.up.weight"],
            "a LoRA for FLUX such as UNO's or USO's, for Load LoRA",
        ),
        (["feature_embedder.mid_layer_norm.bias"], "USO's projector of styles"),
        (["dreamo_t5_embedding.weight", "double_blocks_0_processor_qkv_lora1.down.weight"], "a DreamO LoRA for FLUX"),
        (["transformer_blocks.0.attn.processor.q_loras.0.down.weight"], "an EasyControl LoRA for FLUX"),
        (["id_former.latents", "double_ca.0.to_q.weight"], "a PuLID adapter for FLUX.2 by others"),
        (["id_encoder.visual_projection.weight"], "a PhotoMaker adapter"),
        (["image_proj.proj.2.weight", "image_proj.norm.weight"], "an IP-Adapter FaceID adapter"),
        (
            ["vector", "vectors", "scores"],
            "a file that nothing here recognises (3 tensors: 'scores', 'vector', 'vectors'",
        ),
    ],
)
def test_a_file_of_another_kind_is_named(keys, words):
    text = complaint(dict.fromkeys(keys, torch.ones(2, 2)))
    assert f"is {words}" in text and "LoadIDAdapter reads InstantID" in text


@pytest.mark.parametrize("width", [1024, 1280, 1664])
def test_a_projection_of_clip_features_is_no_instantid(tensors, width):
    tensors["image_proj.proj_in.weight"] = torch.randn(64, width)
    assert load(tensors).spec.title == "IP-Adapter Plus"
