"""ArcFace's IR-SE50 against a plain network of its description, and telling its file from its relatives'."""

import descriptor_files
import pytest
import torch
from likeness.core.faces.align.templates import ARCFACE_TEMPLATE
from likeness.core.faces.describe.descriptors import load_descriptor
from likeness.core.faces.describe.ir_se50 import load_ir_se50
from likeness.core.faces.spaces import is_space, space_of
from likeness.core.weights import WeightFile, WeightsError, kind_of
from references.filling import pictures
from torch.nn import functional as F


@pytest.fixture
def tensors():
    return dict(descriptor_files.ir_se50()[1])


@torch.no_grad()
def test_same_vectors_as_published(tensors, device):
    """BGR in the reference, of length 1, and RGB here, of any length."""
    published, _ = descriptor_files.ir_se50()
    pixels = pictures(2, 112, seed=5)
    expected = published(((pixels - 127.5) / 127.5).flip(1))
    found = load_descriptor(WeightFile("recognition.pth", tensors), device=device)
    assert (found.kind, found.dim, found.alignment.side) == ("arcface-ir-se50", 512, 112)
    assert found.alignment.template == ARCFACE_TEMPLATE and not found.alignment.antialias
    vectors = found.module((pixels / 255).to(device)).cpu()
    assert vectors.dtype == torch.float32 and not found.module.training
    assert (F.normalize(vectors) - expected).abs().max() < 2e-6
    assert (F.normalize(vectors) - published((pixels - 127.5) / 127.5)).abs().max() > 1e-3
    half = load_ir_se50(tensors, device=device, dtype=torch.bfloat16)((pixels / 255).to(device)).cpu()
    assert F.cosine_similarity(half, vectors).min() > 0.999


def test_its_space_is_the_published_files_or_named_after_its_kind():
    published = "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28"
    other = space_of("ab" * 32, "arcface-ir-se50-model_ir_se50")
    assert space_of(published, "arcface-ir-se50-a") == "arcface-ir-se50"
    assert is_space("arcface-ir-se50", "arcface-ir-se50") and is_space(other, "arcface-ir-se50")
    assert not is_space(space_of("ab" * 32, "arcface-backbone"), "arcface-ir-se50")
    assert not is_space(space_of("ab" * 32, "arcface-ir-se50s"), "arcface-ir-se50")


def refused(tensors):
    with pytest.raises(WeightsError, match=r"^anna.pth .*; .*\.$") as caught:
        load_descriptor(WeightFile("anna.pth", tensors))
    return str(caught.value)


def test_relatives(tensors):
    """The same without squeeze and excitation, AdaFace's layout, and another depth."""
    plain = {key: value for key, value in tensors.items() if ".res_layer.5." not in key}
    assert "is an IR face model of another layout than AdaFace's, and" in refused(plain)
    assert kind_of(tensors) == "an ArcFace IR-SE50 state dict"
    assert kind_of(descriptor_files.adaface(18)[1]) == "an AdaFace state dict"
    with pytest.raises(WeightsError, match="is an AdaFace state dict, and an ArcFace IR-SE50 state dict was expected"):
        load_ir_se50(descriptor_files.adaface(18)[1])
    deep = tensors | {f"body.{number}.res_layer.4.weight": torch.ones(256) for number in range(24, 49)}
    deep |= {f"body.{number}.res_layer.4.weight": torch.ones(128) for number in (21, 22, 23, *range(24, 30))}
    deep |= {f"body.{number}.res_layer.4.weight": torch.ones(512) for number in (46, 47, 48)}
    assert "is an IR-SE100, but only IR-SE50 is known" in refused(deep)


@pytest.mark.parametrize("key", ["body.9.res_layer.5.fc2.weight", "body.3.shortcut_layer.1.bias",
                                 "output_layer.4.weight", "body.5.res_layer.2.weight"])  # fmt: skip
def test_damaged_files(tensors, key):
    whole = tensors.pop(key)
    assert f"is incomplete: it lacks {key!r}" in refused(tensors)
    assert "is damaged" in refused(tensors | {key: whole[:1]})
    assert "is damaged" in refused(tensors | {key: torch.full_like(whole, torch.nan)})
