"""SigLIP's vision half and its pixels against transformers', on random weights."""

import photographs
import pytest
import torch
from likeness.core.vision.siglip import load_siglip
from likeness.core.weights import WeightsError, kind_of
from tiny.siglip import SIZES, siglip
from tiny.weights import fill
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

# Heads of 64 channels and patches of 16 pixels as the base's, of 72 and 14 as the so400m's.
NARROW = {
    "base": {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 96, "patch_size": 16, "image_size": 64},
    "so400m": {"hidden_size": 144, "num_attention_heads": 2, "intermediate_size": 100, "patch_size": 14,
               "image_size": 60},  # of which four pixels make no patch
}  # fmt: skip
FULL = {
    "siglip-b256": {"num_attention_heads": 12, "num_hidden_layers": 12, "intermediate_size": 3072},
    "siglip-so400m": {"num_attention_heads": 16, "num_hidden_layers": 27, "intermediate_size": 4304},
}


def published(sizes):
    """transformers' model, filled, and its tensors as files name them."""
    model = fill(SiglipVisionModel(SiglipVisionConfig(num_hidden_layers=3, **sizes)).eval(), 1)
    model = model.requires_grad_(False)
    return model, {f"vision_model.{key.removeprefix('vision_model.')}": tensor
                   for key, tensor in model.state_dict().items()}  # fmt: skip


def picture(count, side, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def off(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", NARROW)
def test_transformers_sees_the_same(name):
    model, tensors = published(NARROW[name])
    width, side = NARROW[name]["hidden_size"], NARROW[name]["image_size"]
    pixels = picture(2, side) * 2 - 1
    expected = model(pixels)
    pooled, (hidden,) = load_siglip(tensors, width, side).features(pixels)
    assert hidden.shape == (2, 16, width) and pooled.shape == (2, width)
    assert off(hidden, expected.last_hidden_state) < 2e-6 and off(pooled, expected.pooler_output) < 2e-6


@pytest.mark.parametrize("name", FULL)
def test_the_published_sizes_have_transformers_parameters(name):
    width, patch, side = SIZES[name]
    config = SiglipVisionConfig(hidden_size=width, patch_size=patch, image_size=side, **FULL[name])
    with torch.device("meta"):
        reference = SiglipVisionModel(config)
    with FakeTensorMode():
        tensors = siglip(name, layers=FULL[name]["num_hidden_layers"], inner=FULL[name]["intermediate_size"])
        module = load_siglip(tensors, width, side)
    assert len(module.embeddings["position_embedding"].weight) == {"siglip-b256": 256, "siglip-so400m": 729}[name]
    assert module.head.attention.dim_head == {"siglip-b256": 64, "siglip-so400m": 72}[name]
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in reference.parameters())


def test_the_pixels_are_the_processors():
    """A picture that is no square is squeezed into one."""
    _, tensors = published(NARROW["so400m"])
    module, seen = load_siglip(tensors, 144, 60), []
    module.embeddings["patch_embedding"].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    picture = photographs.picture("t1").crop((100, 50, 612, 483))
    module(photographs.as_image(picture).movedim(-1, 1))
    processor = SiglipImageProcessorPil(size={"height": 60, "width": 60})
    torch.testing.assert_close(seen[0], processor(images=picture, return_tensors="pt").pixel_values, atol=1e-6, rtol=0)


def test_names_and_neighbours_do_not_matter():
    """The whole model's file, with the text half, and the vision half's with and without its name before the keys."""
    config = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    text = config | {"vocab_size": 10, "projection_size": 64}
    model = SiglipModel(
        SiglipConfig(text_config=text, vision_config=config | {"patch_size": 16, "image_size": 32})
    ).eval()
    whole = model.state_dict()
    vision = {key: tensor for key, tensor in whole.items() if key.startswith("vision_model.")}
    bare = {key.removeprefix("vision_model."): tensor for key, tensor in vision.items()}
    older = vision | {"vision_model.embeddings.position_ids": torch.arange(4)[None]}
    pixels = picture(1, 32)
    expected = model.vision_model(pixels).pooler_output
    for tensors in (whole, vision, bare, older):
        assert off(load_siglip(tensors, 64, 32).features(pixels)[0], expected) < 2e-6
    assert len(whole) > len(vision) and kind_of(whole) == kind_of(vision) == "a SigLIP"


def test_precision_is_the_files_or_as_asked():
    _, tensors = published(NARROW["so400m"])
    stored = {key: tensor.half() for key, tensor in tensors.items()}
    assert {parameter.dtype for parameter in load_siglip(stored, 144, 60).parameters()} == {torch.float16}
    module = load_siglip(stored, 144, 60, dtype=torch.bfloat16)
    pooled, (hidden,) = module(picture(1, 60).bfloat16())
    exact, _ = load_siglip(tensors, 144, 60)(picture(1, 60))
    assert pooled.dtype == hidden.dtype == torch.bfloat16
    assert torch.cosine_similarity(pooled.float(), exact).item() > 0.99


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"text_model.head.bias": torch.ones(3)}, "is a text encoder, and no SigLIP with its head"),
        (lambda t: {k: v for k, v in t.items() if ".head." not in k}, "is a CLIP vision model, and no SigLIP"),
        (lambda t: {**t, "vision_model.embeddings.position_embedding.weight": torch.ones(9, 128)},
         "a SigLIP of 128 channels for 9 patches of 16 pixels, but one of 128 channels for pictures of 64 pixels is"),
        (lambda t: {**t, "vision_model.embeddings.position_embedding.weight": torch.ones(16)}, "is damaged"),
        (lambda t: {**t, "vision_model.embeddings.patch_embedding.weight": torch.ones(128)}, "is damaged"),
        (lambda t: {**t, "vision_model.encoder.layers.0.mlp.fc1.weight": torch.ones(96)}, "is damaged"),
        (lambda t: {**t, "vision_model.encoder.layers.900.mlp.fc1.bias": torch.ones(96)}, "is damaged"),
        (lambda t: {k: v for k, v in t.items() if "head.layernorm.bias" not in k}, "lacks 1 of its tensors"),
        (lambda t: {**t, "vision_model.head.extra": torch.ones(1)}, "has tensors too many"),
        (lambda t: {k: v for k, v in t.items() if "post_layernorm" not in k}, "lacks 2 of its tensors"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_do(change, words):
    _, tensors = published(NARROW["base"])
    with pytest.raises(WeightsError, match=r"^anna.bin .*; .*\.$") as caught:
        load_siglip(change(tensors), 128, 64, "anna.bin")
    assert words in str(caught.value)


def test_on_cuda_without_a_host_read():
    with FakeTensorMode(allow_non_fake_inputs=True):
        tensors = {key: tensor.to("cuda") for key, tensor in siglip("siglip-b256").items()}
        pooled, (hidden,) = load_siglip(tensors, 768, 256, device="cuda")(torch.empty(2, 3, 512, 512, device="cuda"))
        assert pooled.device.type == hidden.device.type == "cuda" and hidden.shape == (2, 256, 768)
