"""IP-Adapter's files: which is which, whatever they are wrapped in, and what only the artist can say."""

import pytest
import torch
from likeness.core.adapters import AUTO, Choices, FaceInput, Overrides, Seen, load_adapter
from likeness.core.weights import WeightFile, WeightsError
from tiny.files import SITE_WIDTHS
from tiny.ip_adapter import CLIP_WIDTH, PATCHES, POOLED, flat, ip_adapter

# layout -> title, tokens, photographs, vision model
EXPECTED = {
    "faceid": ("IP-Adapter FaceID", 4, 1, None),
    "faceid-plus": ("IP-Adapter FaceID Plus", 4, 1, "clip-h"),
    "portrait": ("IP-Adapter FaceID Portrait", 16, 5, None),
    "unnorm": ("InstantID", 16, 1, None),
    "basic": ("IP-Adapter basic", 4, 8, "clip-h"),
    "plus": ("IP-Adapter Plus", 16, 8, "clip-h"),
    "full": ("IP-Adapter Full Face", 257, 8, "clip-h"),
}


def load(tensors, name="anna.safetensors", overrides=AUTO, metadata=None):
    return load_adapter(WeightFile(name, tensors, metadata or {}), overrides)


def same(one, other):
    first, second = dict(one.state_dict()), dict(other.state_dict())
    for key, pair in one.lora.by_site.items():
        first |= {(key, half): tensor for half, tensor in enumerate(pair)}
        second |= {(key, half): tensor for half, tensor in enumerate(other.lora.by_site[key])}
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("layout", EXPECTED)
def test_what_each_file_is(layout, kind):
    module = load(flat(ip_adapter(layout, kind)))
    title, tokens, each, vision = EXPECTED[layout]
    spec = module.spec
    assert (spec.title, spec.tokens, spec.each) == (title, tokens, each)
    assert spec.site_widths == tuple(SITE_WIDTHS[kind])
    assert (spec.look.vision if spec.look else None) == vision
    has_lora = layout.startswith("faceid")
    assert len(module.lora.by_site) == (8 * len(SITE_WIDTHS[kind]) if has_lora else 0)
    assert (f"LoRA inside: {8 * len(SITE_WIDTHS[kind])} layers" in spec.about("a.bin", module.lora)) == has_lora


def test_the_versions_of_plus_differ_by_name_and_by_word_only():
    tensors = flat(ip_adapter("faceid-plus", "sd15"))
    faces = FaceInput(torch.randn(1, 512), Seen((torch.randn(1, PATCHES, CLIP_WIDTH),)))

    def tokens(name, word="auto", structure=1.0):
        module = load(tensors, name, Overrides(faceid_plus=word))
        return module.project(faces, Choices(structure=structure)), module.spec

    first, spec = tokens("ip-adapter-faceid-plus_sd15.bin")
    assert spec.title == "IP-Adapter FaceID Plus" and "a guess by the file's name" in spec.about("x")
    second, spec = tokens("ip-adapter-faceid-plusv2_sd15.bin")
    assert spec.title == "IP-Adapter FaceID Plus v2"
    assert not torch.equal(first, second)
    chosen, spec = tokens("renamed.bin", "v2")
    assert torch.equal(chosen, second) and "as chosen in faceid_plus" in spec.about("x")
    assert torch.equal(tokens("ip-adapter-faceid-plusv2_sd15.bin", "v1")[0], first)
    # v2 adds what it saw: twice as much is as far again from the face tokens; v1 has no such dial
    none, half = tokens("plusv2", structure=0.0)[0], tokens("plusv2", structure=0.5)[0]
    torch.testing.assert_close(half - none, (second - none) / 2)
    assert torch.equal(tokens("plus", structure=0.5)[0], first)


def test_instantid_and_portrait_differ_by_name_and_by_word_only():
    tensors = flat(ip_adapter("unnorm", "sdxl"))
    portrait = load(tensors, "ip-adapter-faceid-portrait_sdxl_unnorm.bin").spec
    assert portrait.family == "portrait" and portrait.face_space == "buffalo_l-w600k_r50"
    assert not portrait.needs_control_net and not portrait.normalised
    assert load(tensors, "ip-adapter.bin").spec.family == "instantid"
    chosen = load(tensors, "ip-adapter.bin", Overrides(faces_512="portrait")).spec
    assert chosen.family == "portrait" and "as chosen in faces_512" in chosen.about("x")
    assert load(tensors, "portrait.bin", Overrides(faces_512="instantid")).spec.needs_control_net


def test_a_word_that_is_none_is_refused():
    with pytest.raises(ValueError, match="faceid_plus is 'v3', but must be one of: auto, v1, v2"):
        Overrides(faceid_plus="v3")


def test_photographs_become_tokens_side_by_side():
    portrait = load(flat(ip_adapter("portrait", "sd15")))
    vectors = torch.randn(3, 512)
    together = portrait.project(FaceInput(vectors))
    assert together.shape == (1, 48, 48)
    apart = torch.cat([portrait.project(FaceInput(vector[None])) for vector in vectors], 1)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(("layout", "width"), [("basic", POOLED), ("plus", CLIP_WIDTH), ("full", CLIP_WIDTH)])
def test_plain_adapters_take_what_clip_sees(layout, width):
    module = load(flat(ip_adapter(layout, "sd15")))
    seen = Seen((torch.randn(2, 257, CLIP_WIDTH),), torch.randn(2, POOLED))
    tokens = module.project(FaceInput(seen=seen))
    assert tokens.shape == (1, 2 * module.spec.tokens, 48)
    assert torch.equal(tokens, module.project(FaceInput(torch.randn(2, 512), seen)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["faceid-plus", "portrait", "full"])
def test_half_precision(layout, dtype):
    tensors = {key: tensor.to(dtype) for key, tensor in flat(ip_adapter(layout, "sd15")).items()}
    module = load(tensors)
    seen = Seen((torch.randn(1, PATCHES, CLIP_WIDTH, dtype=dtype),), torch.randn(1, POOLED, dtype=dtype))
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}
    assert module.project(FaceInput(torch.randn(1, 512, dtype=dtype), seen)).isfinite().all()


def test_half_a_lora_layer_is_said():
    tensors = flat(ip_adapter("faceid", "sd15"))
    del tensors["ip_adapter.3.to_out_lora.up.weight"]
    with pytest.raises(WeightsError, match="is incomplete: it lacks 'ip_adapter.3.to_out_lora.up.weight'"):
        load(tensors)


def test_the_lora_is_the_files_own_numbers():
    tensors = flat(ip_adapter("faceid", "sd15"))
    lora = load(tensors).lora.by_site
    for key, (number, part) in {
        (0, "attn1", "to_q"): (0, "q"), (0, "attn2", "to_k"): (1, "k"), (15, "attn2", "to_out"): (31, "out"),
    }.items():  # fmt: skip
        down, up = lora[key]
        assert torch.equal(down, tensors[f"ip_adapter.{number}.to_{part}_lora.down.weight"])
        assert torch.equal(up, tensors[f"ip_adapter.{number}.to_{part}_lora.up.weight"])
