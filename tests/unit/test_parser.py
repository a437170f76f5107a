"""The face parser against facexlib's, and what it says of files that are none."""

import numpy as np
import pytest
import torch
from likeness.core.faces.regions.parser import CLASSES, SIDE, load_parser
from likeness.core.weights import WeightsError
from parser_files import pictures, reference, yakhyos
from PIL import Image
from torch import nn

AUXILIARY = ("conv_out16.", "conv_out32.")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def published():
    return reference()


@pytest.fixture
def tensors(published):
    return dict(published.state_dict())


@pytest.fixture(scope="module")
def parser(published, device):
    return load_parser(published.state_dict(), device=device)


def published_pixels(image):
    """What the published parser's own script does to a picture, in float: [B,H,W,3] in 0..1 -> [B,3,512,512]."""
    resized = [
        [Image.fromarray(channel).resize((512, 512), Image.Resampling.BILINEAR) for channel in np.moveaxis(one, -1, 0)]
        for one in image.numpy()
    ]
    pixels = np.array([[np.asarray(channel) for channel in one] for one in resized])
    return torch.from_numpy((pixels - MEAN[:, None, None]) / DEVIATION[:, None, None]).float()


def check_same(parser, published, image, device):
    """Logits, probabilities and labels of our parser and the reference; returns the reference's labels."""
    expected = published(published_pixels(image))[0]
    assert 0.3 < expected.std() < 10  # tame, and far from nothing
    logits = parser(image.to(device)).cpu()
    torch.testing.assert_close(logits, expected, atol=5e-5, rtol=1e-5)
    probabilities = parser.probabilities(image.to(device), (17, 6)).cpu()
    torch.testing.assert_close(probabilities, expected.softmax(1)[:, [17, 6]], atol=2e-5, rtol=1e-5)
    labels, two = parser.labels(image.to(device)).cpu(), expected.topk(2, 1).values
    clear = two[:, 0] - two[:, 1] > 1e-3
    assert clear.float().mean() > 0.95 and torch.equal(labels[clear], expected.argmax(1)[clear])
    return expected.argmax(1)


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 512, 512), (1, 900, 640), (2, 128, 96)])
def test_same_classes_as_facexlib(parser, published, device, batch, height, width):
    labels = check_same(parser, published, pictures(batch, height, width), device)
    assert labels.shape == (batch, SIDE, SIDE) and len(labels.unique()) > 5


def test_the_parameters_are_the_published_ones_without_the_auxiliary_heads(parser, published, tensors):
    ours = parser.network.state_dict()
    expected = {key: value for key, value in tensors.items() if not key.startswith(AUXILIARY)}
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in expected.items()}
    assert all(torch.equal(ours[key].cpu(), expected[key]) for key in ours)
    assert not parser.training and not any(parameter.requires_grad for parameter in parser.parameters())
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    assert 53.2e6 < size < 53.4e6  # the published file has 53.3 MB


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_what_training_left_behind_does_not_matter(parser, tensors, device):
    bare = {key: value for key, value in tensors.items() if not key.startswith(AUXILIARY)}
    prefixed = {f"module.{key}": value for key, value in tensors.items()}
    for given in (bare, prefixed, yakhyos(tensors)):
        assert same(load_parser(given, device=device), parser)
    uncounted = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    image = pictures(1, 64, 64).to(device)
    assert torch.equal(load_parser(uncounted, device=device)(image), parser(image))


def test_a_file_in_half_precision_computes_in_single(tensors, device):
    half = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    parser = load_parser(half, device=device)
    assert {parameter.dtype for parameter in parser.parameters()} == {torch.float32}
    assert parser(pictures(1, 64, 64).to(device)).isfinite().all()


def test_the_deeper_backbone_of_yakhyos_parser(device):
    published = reference(depths=(3, 4, 6, 3))
    parser = load_parser(yakhyos(published.state_dict()), device=device)
    check_same(parser, published, pictures(1, 300, 431), device)


def test_modules_in_another_precision(parser, tensors, device, monkeypatch):
    """On a small picture: processors without instructions for bfloat16 take a minute for a whole one."""
    monkeypatch.setattr("likeness.core.faces.regions.parser.GRID", (96, 96))
    image = pictures(1, 64, 64).to(device)
    other = load_parser(tensors, device=device, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.bfloat16}
    found, full = other(image), parser(image)
    assert found.dtype == torch.float32 and found.shape == full.shape
    assert (found - full).abs().mean() < 0.1 * full.std()


class Halves(nn.Module):
    """Hair on the left half of the picture, hat on the right."""

    def forward(self, pixels):
        logits = pixels.new_zeros(len(pixels), len(CLASSES), SIDE, SIDE)
        logits[:, CLASSES.index("hair"), :, : SIDE // 2] = 30
        logits[:, CLASSES.index("hat"), :, SIDE // 2 :] = 30
        return logits


@pytest.fixture
def halves(tensors):
    parser = load_parser(tensors)
    parser.network = Halves()
    return parser


@pytest.mark.parametrize("size", [(8, 16), (64, 96), (512, 512), (768, 1024)])
def test_any_grid_covers_the_whole_picture(halves, size):
    hair, hat = CLASSES.index("hair"), CLASSES.index("hat")
    image, (height, width) = torch.zeros(2, 100, 50, 3), size
    labels = halves.labels(image, size)
    assert labels.shape == (2, height, width) and labels.dtype == torch.int64
    assert (labels[..., : width // 2] == hair).all() and (labels[..., width // 2 :] == hat).all()
    soft = halves.probabilities(image, (hat, 0, hair), size)
    assert soft.shape == (2, 3, height, width) and soft.dtype == torch.float32
    torch.testing.assert_close(soft[:, 0], soft[:, 2].flip(-1), atol=1e-5, rtol=0)  # mirror images, in the asked order
    assert soft[:, 1].max() < 1e-6 and soft[:, 0, :, : width // 2 - 1].max() < 1e-6
    torch.testing.assert_close(soft.sum(1), torch.ones(2, height, width), atol=1e-5, rtol=0)


def test_all_classes_sum_to_one_on_any_grid(parser, device):
    soft = parser.probabilities(pictures(1, 90, 120).to(device), range(19), (33, 47))
    torch.testing.assert_close(soft.sum(1).cpu(), torch.ones(1, 33, 47), atol=1e-5, rtol=0)
    assert soft.min() >= 0


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3, 2)])
def test_the_smallest_pictures(parser, device, size):
    labels = parser.labels(torch.rand(1, *size, 3, device=device), (4, 4))
    assert labels.shape == (1, 4, 4)


def complaint(tensors):
    with pytest.raises(WeightsError) as caught:
        load_parser(tensors, "anna.pth")
    text = str(caught.value)
    assert text.startswith("anna.pth ") and ";" in text and text.endswith(".") and "\n" not in text, text
    return text


@pytest.mark.parametrize("classes", [11, 20])
def test_another_number_of_classes(classes):
    text = complaint(reference(classes).state_dict())
    assert f"a face parser with {classes} classes, but 19 are needed; choose" in text
    assert f"{classes} classes" in complaint(yakhyos(reference(classes).state_dict()))


OTHERS = {
    "segformer.encoder.patch_embeddings.0.proj.weight": "is a SegFormer, and a face parser must be a BiSeNet",
    "out_mask_conv.conv2d.weight": "is a ParseNet face parser, and a face parser must be a BiSeNet with 19 classes",
    "module.lora_unet_mid.lora_down.weight": "is a LoRA, and",
    "layer1.0.conv1.weight": "is a file that nothing here recognises (1 tensors: 'layer1.0.conv1.weight'",
}


@pytest.mark.parametrize("key", OTHERS)
def test_files_of_another_kind(key):
    text = complaint({key: torch.ones(2, 2)})
    assert OTHERS[key] in text and "79999_iter.pth" in text


def test_files_of_another_layout(tensors):
    """One with a spatial path, as BiSeNet has for streets, also with 19 classes; one that ends early; one mixed up."""
    streets = {**tensors, "sp.conv1.conv.weight": torch.ones(64, 3, 7, 7)}
    assert "has tensors too many, 1 of them (the first: 'sp.conv1.conv.weight')" in complaint(streets)
    short = {key: value for key, value in tensors.items() if not key.startswith("ffm.")}
    assert "lacks 7 of its tensors (the first: 'ffm.convblk.conv.weight')" in complaint(short)
    headless = {key: value for key, value in tensors.items() if not key.startswith("conv_out.conv_out.")}
    assert "is incomplete: it lacks 'conv_out.conv_out.weight'; fetch it again" in complaint(headless)
    for key in ("cp.resnet.layer2.0.conv1.weight", "conv_out.conv.bn.running_mean"):
        assert "its tensors don't fit together" in complaint({**tensors, key: torch.ones(3)})
    assert "its tensors don't fit together" in complaint({**tensors, "conv_out.conv_out.weight": torch.tensor(1.0)})
