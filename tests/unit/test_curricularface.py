"""CurricularFace's features for UniPortrait against the published steps, and telling its file from AdaFace's."""

import descriptor_files
import pytest
import torch
import torch.nn.functional as F
from likeness.core.faces.align.alignment import arcface
from likeness.core.faces.describe import curricularface
from likeness.core.faces.describe.descriptors import load_descriptor
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.spaces import is_space
from likeness.core.weights import WeightFile, WeightsError, kind_of
from on_device import StaysOnDevice
from references.curricularface import mid_features
from references.filling import pictures
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.fixture(scope="module")
def tensors():
    return descriptor_files.curricularface()


@torch.no_grad()
def test_same_features_as_published(tensors, device):
    """The picture that CLIP sees, halved; the last map by cell, the early ones on CLIP's patches."""
    assert len(tensors) == 917
    pixels = pictures(1, 224, seed=3)
    halved = F.interpolate((pixels / 255 - 0.5) / 0.5, size=(112, 112), mode="bilinear", align_corners=False)
    *early, last = mid_features(tensors, halved)
    intrinsic = [last[0, :, row, column] for row in range(7) for column in range(7)]
    early = torch.cat([F.interpolate(seen, size=(16, 16), mode="bilinear", align_corners=False) for seen in early], 1)
    structure = [early[0, :, row, column] for row in range(16) for column in range(16)]
    expected = torch.cat(intrinsic + structure)
    found = load_descriptor(WeightFile("glint360k.bin", tensors), device=device)
    vector = found.module((pixels / 255).to(device))
    assert (found.kind, found.dim, found.alignment.side) == ("curricularface", 49 * 512 + 256 * 448, 224)
    assert vector.shape == (1, found.dim) and vector.dtype == torch.float32
    assert 0.3 < expected.std() < 3 and (vector[0].cpu() - expected).abs().max() < 1e-4
    assert not found.module.training and not any(parameter.requires_grad for parameter in found.module.parameters())
    assert found.alignment.template[0] == pytest.approx((2 * 38.2946, 2 * 51.6963))


def test_which_file_is_which(tensors):
    """One layout, three files: only the published wrapper, or the name, makes it AdaFace's."""
    wrapped = {f"model.{key}": tensor for key, tensor in tensors.items()}
    shallow = {key: tensor for key, tensor in tensors.items() if not key.startswith(("body.4", "body.3"))}
    assert curricularface.recognise(tensors, "backbone.bin")
    assert kind_of(tensors) == "a CurricularFace state dict"
    assert not curricularface.recognise(tensors, "AdaFace_ir101.pth")
    for other in (wrapped, shallow):
        assert not curricularface.recognise(other, "a.bin") and kind_of(other) == "an AdaFace state dict"


@pytest.mark.parametrize("key", ["output_layer.3.weight", "body.20.res_layer.3.weight", "input_layer.1.bias"])
def test_files_that_are_incomplete(tensors, key):
    """Also where what is missing is never run."""
    left = {other: tensor for other, tensor in tensors.items() if other != key}
    with pytest.raises(WeightsError, match=f"incomplete: it lacks {key!r}; fetch it again"):
        curricularface.load_curricularface(left, "anna.bin")


def test_a_space_can_be_wanted_by_its_kind():
    assert is_space("curricularface-backbone:0123abcd", "curricularface")
    assert not is_space("adaface-curricularface:0123abcd", "curricularface")
    assert not is_space("antelopev2-other:0123abcd", "antelopev2-glintr100")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_is_read_on_the_way(dtype):
    with FakeTensorMode(), StaysOnDevice():
        network = curricularface.IResNet((1, 1, 1, 1), False, device="cuda", dtype=dtype).eval()
        module = curricularface.CurricularFace(network)
        alignment = arcface(curricularface.CHIP_SIZE)
        encoder = FaceEncoder(None, module, "curricularface", curricularface.DIM, alignment)
        index, host = torch.zeros(3, dtype=torch.long, device="cuda"), HostFace((0.0,) * 4, ((0.0, 0.0),) * 5, 0.9)
        faces = Faces(torch.rand(3, 4, device="cuda"), torch.rand(3, 5, 2, device="cuda"),
                      torch.rand(3, device="cuda"), index, (2, 1), (480, 640), (host,) * 3)  # fmt: skip
        vectors = encoder.embed(torch.rand(2, 480, 640, 3, device="cuda"), faces)
    assert vectors.device.type == "cuda" and vectors.shape == (3, 49 * 512 + 256 * 448)
