"""EVA-CLIP's visual tower against timm's, on random weights."""

import pytest
import timm
import torch
from likeness.core.vision.eva import load_eva
from likeness.core.weights import WeightsError
from timm.models.eva import Eva, checkpoint_filter_fn
from tiny.eva import DEPTH, FULL, HIDDEN, WIDTH, eva
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize


@pytest.fixture(scope="module")
def tensors():
    return eva()


def narrow_timm():
    """timm's `eva02_large_patch14_clip_336` with fewer channels, hence its options written out."""
    return Eva(
        img_size=336, patch_size=14, embed_dim=WIDTH, depth=DEPTH, num_heads=WIDTH // 64, mlp_ratio=HIDDEN / WIDTH,
        num_classes=768, global_pool="token", qkv_fused=False, scale_mlp=True, swiglu_mlp=True, scale_attn_inner=True,
        use_rot_pos_emb=True, ref_feat_shape=(16, 16),
    )  # fmt: skip


def seen_by_timm(model, tensors, pixels):
    """The head's output and the inputs of blocks 4, 8, 12, 16 and 20."""
    model.load_state_dict(checkpoint_filter_fn(tensors, model))
    states = []
    for number in (4, 8, 12, 16, 20):
        model.blocks[number].register_forward_pre_hook(lambda module, inputs: states.append(inputs[0]))
    with torch.no_grad():
        return model.eval()(pixels), states


def picture(count, side=336, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def differences(found, expected):
    (pooled, states), (expected_pooled, expected_states) = found, expected
    assert len(states) == len(expected_states) == 5
    pairs = zip((pooled, *states), (expected_pooled, *expected_states), strict=True)
    return max((one - other).abs().max().item() / other.abs().max().item() for one, other in pairs)


def test_timm_sees_the_same(tensors):
    pixels = (picture(1) - 0.5) / 0.25
    found = load_eva(tensors).features(pixels)
    assert found[0].shape == (1, 768) and {state.shape for state in found[1]} == {(1, 577, WIDTH)}
    assert differences(found, seen_by_timm(narrow_timm(), tensors, pixels)) < 1e-5


def test_the_picture_as_pulid_prepares_it(tensors):
    module, image = load_eva(tensors), picture(1, 512)
    pixels = resize(image, 336, InterpolationMode.BICUBIC)
    pixels = normalize(pixels, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    assert differences(module(image), module.features(pixels)) < 1e-5


def test_names_and_neighbours_do_not_matter(tensors):
    bare = {key.removeprefix("visual."): tensor for key, tensor in tensors.items() if key.startswith("visual.")}
    without = {key: tensor for key, tensor in bare.items() if "rope" not in key}
    expected = load_eva(tensors).state_dict()
    for other in (bare, without):
        found = load_eva(other).state_dict()
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def test_precision_is_the_files_or_as_asked(tensors):
    stored = {key: tensor.half() for key, tensor in tensors.items()}
    assert {parameter.dtype for parameter in load_eva(stored).parameters()} == {torch.float16}
    module = load_eva(stored, dtype=torch.bfloat16)
    pooled, states = module(picture(1).bfloat16())
    exact, _ = load_eva(tensors)(picture(1))
    assert pooled.dtype == torch.bfloat16 and len(states) == 5
    assert torch.cosine_similarity(pooled.float(), exact).item() > 0.99


def test_the_published_size_has_timms_parameters():
    with torch.device("meta"):
        reference = timm.create_model("eva02_large_patch14_clip_336", num_classes=768)
    with FakeTensorMode():
        tensors = eva(*FULL)
        module = load_eva(tensors)
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in reference.parameters())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: {"text.positional_embedding": t["text.positional_embedding"]}, "and no EVA-CLIP"),
        (lambda t: {**t, "visual.pos_embed": torch.ones(1, 257, WIDTH)}, "with 257 positions"),
        (lambda t: {**t, "visual.head.weight": torch.ones(512, WIDTH)}, "embeddings of 512 numbers"),
        (lambda t: {**t, "visual.norm.weight": torch.ones(3)}, "don't fit together"),
        (lambda t: {**t, "visual.blocks.0.mlp.w1.weight": torch.ones(HIDDEN, 32)}, "don't fit together"),
        (lambda t: {k: v for k, v in t.items() if "blocks.21" not in k and "blocks.20" not in k}, "don't fit together"),
        (lambda t: {k: v for k, v in t.items() if k != "visual.blocks.3.attn.q_bias"}, "lacks 1 of its tensors"),
        (lambda t: {k: v for k, v in t.items() if k != "visual.pos_embed"}, "lacks 'pos_embed'"),
    ],
)
def test_a_file_that_does_not_do(tensors, change, words):
    with pytest.raises(WeightsError, match=r"^anna.pt .*; fetch .*\.$") as caught:
        load_eva(change(tensors), "anna.pt")
    assert words in str(caught.value)


def test_on_cuda_without_a_host_read():
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = load_eva({key: tensor.to("cuda") for key, tensor in eva(64, 8, 21).items()}, device="cuda")
        pooled, states = module(torch.empty(2, 3, 512, 512, device="cuda"))
        assert pooled.device.type == states[0].device.type == "cuda"
