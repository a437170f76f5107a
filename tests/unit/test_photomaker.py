"""PhotoMaker's files: recognised however they are saved; tower, tokens and fusing as transformers and the paper have
them."""

import re

import pytest
import torch
from likeness.core.adapters import FaceInput, Seen, load_adapter
from likeness.core.vision.clip_tower import ClipTower, clip_pixels
from likeness.core.weights import WeightFile, WeightsError, read_weights
from PIL import Image
from references.fusing import fused, gelu, linear, norm, perceiver_layer
from safetensors.torch import save_file
from tiny.files import CONTEXT_DIM
from tiny.ip_adapter import Numbers, flat
from tiny.photomaker import DEPTH, PATCH, SIDE, WIDTH, in_pefts_wrapper, photomaker, vision_tower
from torch.nn import functional as F

WIDTHS = CONTEXT_DIM["sdxl"]


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


def load(tensors, name="anna.bin", metadata=None, **options):
    return load_adapter(WeightFile(name, tensors, metadata or {}), **options)


def pictures(count, height=40, width=32, seed=3):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def vectors(count, seed=4):
    return 20 * torch.randn(count, 512, generator=torch.Generator().manual_seed(seed)) / 512**0.5


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def reference_tower(tensors):
    """transformers' own vision model with the fixture's weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_attention_heads=WIDTH // 64, num_hidden_layers=DEPTH,
        patch_size=PATCH, image_size=PATCH * SIDE,
    )  # fmt: skip
    model = CLIPVisionModel(config).eval()
    own = {key.removeprefix("vision_model."): value for key, value in model.state_dict().items()}
    own = {key: tensors[key] for key in own if not key.endswith("position_ids")}
    prefix = "vision_model." if any(key.startswith("vision_model.") for key in model.state_dict()) else ""
    missing, unexpected = model.load_state_dict({prefix + key: value for key, value in own.items()}, strict=False)
    assert not unexpected and all(key.endswith("position_ids") for key in missing)
    assert own.keys() == tensors.keys()
    return model


def test_the_tower_is_transformers():
    tensors = vision_tower(Numbers(7), "")
    tower = ClipTower(tensors)
    tower.load_state_dict(tensors)
    pixels = torch.randn(2, 3, PATCH * SIDE, PATCH * SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden, expected = tower(pixels), reference_tower(tensors)(pixel_values=pixels)
        torch.testing.assert_close(hidden, expected.last_hidden_state, atol=1e-4, rtol=0)
        torch.testing.assert_close(tower.pooled(hidden), expected.pooler_output, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(97, 131), (300, 224), (150, 149), (224, 224), (640, 480)])
def test_pixels_are_the_image_processors(size):
    from transformers import CLIPImageProcessorPil

    noise = torch.rand(1, 3, 12, 9, generator=torch.Generator().manual_seed(size[0]))
    picture = (F.interpolate(noise, size, mode="bicubic").clamp(0, 1) * 255).round().byte()
    expected = CLIPImageProcessorPil()(Image.fromarray(picture[0].movedim(0, -1).numpy()), return_tensors="pt")
    ours = clip_pixels(picture.float() / 255, 224)
    assert ours.shape == (1, 3, 224, 224)
    one_step = 1 / 255 / 0.26
    assert (ours - expected["pixel_values"]).abs().max() < 1.01 * one_step
    assert (ours - expected["pixel_values"]).abs().mean() < 0.02 * one_step


def test_what_the_file_says_about_itself(version):
    module = load(flat(photomaker(version)))
    spec = module.spec
    assert (spec.family, spec.token_dim, spec.site_widths, spec.in_prompt) == ("photomaker", WIDTHS, (), True)
    if version == "v1":
        assert (spec.tokens, spec.face_dim, spec.face_space, spec.each) == (1, 0, None, 75)
    else:
        assert (spec.tokens, spec.face_dim, spec.face_space, spec.each) == (2, 512, "buffalo_l-w600k_r50", 37)
    assert not spec.normalised
    about = spec.about("anna.bin", module.lora)
    for words in ("PhotoMaker", "IDTextEncode", "560 layers", "woman img", "text width 64"):
        assert words in about, about


def test_one_token_of_each_photograph(version):
    tensors = photomaker(version)["id_encoder"]
    module, images, faces = load(flat(photomaker(version))), pictures(3), vectors(3)
    tower = reference_tower({key[13:]: value for key, value in tensors.items() if key.startswith("vision_model.")})
    with torch.no_grad():
        tokens = module.project(FaceInput(faces if version == "v2" else None, Seen((images,))))
        seen = tower(pixel_values=clip_pixels(images, PATCH * SIDE))
        if version == "v1":
            pooled = seen.pooler_output
            expected = torch.cat([pooled @ tensors[f"visual_projection{n}.weight"].T for n in ("", "_2")], -1)
        else:
            stem = "qformer_perceiver."
            first = linear(gelu(linear(faces, tensors, f"{stem}token_proj.0")), tensors, f"{stem}token_proj.2")
            first = norm(first.reshape(3, 2, WIDTHS), tensors, f"{stem}token_norm")
            stem += "perceiver_resampler."
            x, latents = linear(seen.last_hidden_state, tensors, f"{stem}proj_in"), first
            for layer in range(4):
                latents = perceiver_layer(x, latents, tensors, f"{stem}layers.{layer}.", dim_head=128)
            latents = norm(linear(latents, tensors, f"{stem}proj_out"), tensors, f"{stem}norm_out")
            expected = (first + latents).reshape(6, WIDTHS)
    torch.testing.assert_close(tokens, expected[None], atol=1e-4, rtol=0)


def test_fusing(version):
    tensors, module = photomaker(version)["id_encoder"], load(flat(photomaker(version)))
    words, tokens = torch.randn(2, 1, 5, WIDTHS, generator=torch.Generator().manual_seed(8))
    torch.testing.assert_close(module.fuse(words, tokens), fused(words, tokens, tensors), atol=1e-4, rtol=0)


def test_every_way_of_saving_gives_the_same_module(tmp_path, version):
    nested = photomaker(version)
    torch.save(nested, tmp_path / "a.bin")
    save_file(flat(nested), tmp_path / "a.safetensors")
    one = load_adapter(read_weights(tmp_path / "a.bin"))
    other = load_adapter(read_weights(tmp_path / "a.safetensors"))
    alone = load(nested["id_encoder"])  # without its prefix and without the LoRA
    assert same(one, other) and same(one, alone)
    assert one.lora.layers == other.lora.layers == 560 and not alone.lora
    assert "LoRA in the file: none" in alone.spec.about("a.bin", alone.lora)


def test_lora_names_of_every_year():
    tensors = flat(photomaker("v1"))
    newer = {
        key.replace(".processor.to_", ".to_").replace("to_out_", "to_out.0_").replace("_lora.", ".lora."): value
        for key, value in tensors.items()
    }
    assert newer.keys() != tensors.keys()
    written = set(load(newer).lora.by_name)
    assert written == {key.replace("_lora.", ".lora.") for key in load(tensors).lora.by_name}


@pytest.mark.parametrize("wrapper", ["base_model.model.", "unet.base_model.model.", "base_model.model.unet."])
def test_lora_names_in_pefts_wrapper(wrapper):
    nested = photomaker("v1")
    wrapped = nested | {"lora_weights": in_pefts_wrapper(nested["lora_weights"], wrapper)}
    read, expected = load(flat(wrapped)).lora.by_name, load(flat(nested)).lora.by_name
    plain = {key.replace(".lora_A", "_lora.down").replace(".lora_B", "_lora.up"): read[key] for key in read}
    assert plain.keys() == expected.keys() and all(torch.equal(plain[key], expected[key]) for key in plain)


def test_what_older_transformers_stored_besides():
    tensors = flat(photomaker("v1"))
    extra = {"id_encoder.vision_model.embeddings.position_ids": torch.arange(5)[None]}
    assert same(load({**tensors, **extra}), load(tensors))


def test_tensors_too_many_or_missing(version):
    tensors = {key: tensor for key, tensor in flat(photomaker(version)).items() if key.startswith("id_encoder.")}
    with pytest.raises(WeightsError, match="has tensors too many"):
        load({**tensors, "id_encoder.fuse_module.gate": torch.ones(2)})
    for key in list(tensors)[::7]:
        with pytest.raises(WeightsError, match=r"^anna.bin .*; .*\.$"):
            load({other: tensor for other, tensor in tensors.items() if other != key})


def test_every_wrong_shape_is_refused(version):
    tensors = {key: tensor for key, tensor in flat(photomaker(version)).items() if key.startswith("id_encoder.")}
    for key, tensor in tensors.items():
        if re.search(r"layers\.[1-9]|token_proj\.0\.weight", key):  # like the first; its width is the face's
            continue
        for wrong in (tensor[..., :-1], torch.tensor(1.0)):
            with pytest.raises(WeightsError, match=r"^anna.bin .*; .*\.$"):
                load({**tensors, key: wrong.clone()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(version, dtype):
    tensors = flat(photomaker(version))
    module, exact = load(tensors, dtype=dtype), load(tensors)
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    images, faces = pictures(2), vectors(2) if version == "v2" else None
    half = FaceInput(None if faces is None else faces.to(dtype), Seen((images.to(dtype),)))
    with torch.no_grad():
        ours, expected = module.project(half).float(), exact.project(FaceInput(faces, Seen((images,))))
    assert F.cosine_similarity(ours, expected, dim=-1).min() > 0.99
