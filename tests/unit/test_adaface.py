"""AdaFace and ArcFace against plain networks of their descriptions, and all descriptors behind one function."""

import descriptor_files
import numpy as np
import pytest
import torch
from insightface.utils import face_align
from likeness.core.faces.align.alignment import FivePoints
from likeness.core.faces.align.boxes import Boxes
from likeness.core.faces.align.templates import ARCFACE_TEMPLATE, arcface_template
from likeness.core.faces.describe import adaface, arcface
from likeness.core.faces.describe.descriptors import load_descriptor
from likeness.core.faces.describe.networks.iresnet import IResNet
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.weights import WeightFile, WeightsError, read_weights
from on_device import StaysOnDevice
from references.filling import pictures
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

LOADERS = {"adaface": adaface.load_adaface, "arcface": arcface.load_arcface}


def tensors_of(kind):
    return dict(descriptor_files.adaface(18)[1] if kind == "adaface" else descriptor_files.arcface((2, 2, 2, 2))[1])


@pytest.fixture(params=LOADERS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def chips(seen):
    """Real faces [6, 3, 112, 112]."""
    return FaceEncoder(None, None, "", 512, FivePoints(ARCFACE_TEMPLATE, 112, antialias=True)).align(*seen("t1"))


def check_same(network, vectors, expected):
    assert vectors.dtype == torch.float32 and 0.3 < expected.std() < 3
    assert (vectors.cpu() - expected).abs().max() < 1e-4
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("layers", [18, 50])
@torch.no_grad()
def test_same_vectors_as_adaface(layers, chips, device):
    """BGR in the reference and RGB here; ours is its feature times its norm."""
    published, tensors = descriptor_files.adaface(layers)
    pixels = torch.cat([(chips[:1].cpu() * 255).round(), pictures(1, 112, seed=5)])
    feature, norm = published(((pixels - 127.5) / 127.5).flip(1))
    network = adaface.load_adaface(tensors, device=device)
    check_same(network, network((pixels / 255).to(device)), feature * norm)


@torch.no_grad()
def test_same_vectors_as_arcface(chips, device):
    published, tensors = descriptor_files.arcface(50)
    pixels = torch.cat([(chips[:1].cpu() * 255).round(), pictures(1, 112, seed=5)])
    network = arcface.load_arcface(tensors, device=device)
    check_same(network, network((pixels / 255).to(device)), published((pixels - 127.5) / 127.5))


@pytest.mark.parametrize(("kind", "half"), [("adaface", torch.float16), ("arcface", torch.bfloat16)])
@torch.no_grad()
def test_half_precision_on_real_chips(kind, chips, device, half):
    """The weights are random; the published ones may round otherwise."""
    module = LOADERS[kind](tensors_of(kind), device=device, dtype=half)
    assert {parameter.dtype for parameter in module.parameters()} == {half}
    vectors = module(chips[:2])
    assert vectors.dtype == torch.float32
    full = LOADERS[kind](tensors_of(kind), device=device)(chips[:2])
    assert F.cosine_similarity(vectors, full).min() > 0.999


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_adaface_files_as_they_are_saved(tmp_path):
    """Lightning's whole checkpoint, its dictionary alone, and the network alone."""
    tensors = tensors_of("adaface")
    network = adaface.load_adaface(tensors)
    path = tmp_path / "adaface_ir18_webface4m.ckpt"
    torch.save({"epoch": 25, "state_dict": tensors, "optimizer_states": [{"state": {}}]}, path)
    bare = {key.removeprefix("model."): value for key, value in tensors.items() if not key.startswith("head.")}
    without_counters = {key: value for key, value in bare.items() if not key.endswith("num_batches_tracked")}
    for other in (read_weights(path).tensors, bare, without_counters, bare | {"head.kernel": torch.ones(512, 9)}):
        assert adaface.recognise(other) and not arcface.recognise(other)
        assert same(network, adaface.load_adaface(other))


def test_arcface_files_as_they_are_saved():
    tensors = tensors_of("arcface")
    network = arcface.load_arcface(tensors)
    for prefix in ("module.", "backbone."):
        other = {prefix + key: value for key, value in tensors.items()}
        assert arcface.recognise(other) and not adaface.recognise(other)
        assert same(network, arcface.load_arcface(other))


def complaint(load, tensors):
    with pytest.raises(WeightsError) as caught:
        load(tensors, "anna.ckpt")
    text = str(caught.value)
    assert text.startswith("anna.ckpt ") and ";" in text and text.endswith(".") and "\n" not in text, text
    assert len(text) < 250, text
    return text


MISSING = {
    "adaface": (
        "input_layer.1.weight", "body.0.res_layer.3.weight", "body.2.shortcut_layer.1.running_mean",
        "body.7.res_layer.2.bias", "output_layer.3.bias", "output_layer.4.running_var",
    ),
    "arcface": (
        "prelu.weight", "layer1.0.downsample.0.weight", "layer4.1.bn3.running_var", "bn2.bias", "fc.weight",
        "features.weight",
    ),
}  # fmt: skip


def test_a_file_without_one_tensor(kind):
    prefix = "model." if kind == "adaface" else ""
    for key in MISSING[kind]:
        tensors = tensors_of(kind)
        del tensors[prefix + key]
        assert f"is incomplete: it lacks {key!r}; fetch it again." in complaint(LOADERS[kind], tensors)


def test_a_file_that_ends_early(kind):
    for cut in ("body.5.", "layer3.1."):
        tensors = tensors_of(kind)
        short = {key: value for key, value in tensors.items() if cut not in key}
        if len(short) < len(tensors):
            text = complaint(LOADERS[kind], short)
            assert "its stages have 2, 2, 1" in text and "no published one has" in text
    tensors = tensors_of(kind)
    key = "body.{}.res_layer.4.weight" if kind == "adaface" else "layer1.{}.prelu.weight"
    key = f"model.{key}" if kind == "adaface" else key
    many = {key.format(number): torch.ones(64, 1, 1, 1) for number in range(20_000)}
    assert "no published one has" in complaint(LOADERS[kind], tensors | many)


ODD = {
    "adaface": (
        ("input_layer.0.weight", (3,)), ("body.3.res_layer.1.weight", (1, 50_000, 3, 3)),
        ("body.3.res_layer.0.running_var", (128, 1)), ("body.1.res_layer.3.weight", (1,)),
        ("output_layer.3.weight", (512, 512 * 14 * 14)), ("output_layer.3.weight", (512,)),
        ("output_layer.4.running_mean", ()),
    ),
    "arcface": (
        ("conv1.weight", (64, 3, 7, 7)), ("layer2.0.downsample.0.weight", (128, 64, 3, 3)),
        ("bn2.weight", (511,)), ("fc.weight", (256, 25088)), ("features.bias", (1,)),
    ),
}  # fmt: skip


def test_odd_shapes(kind):
    prefix = "model." if kind == "adaface" else ""
    for key, shape in ODD[kind]:
        text = complaint(LOADERS[kind], {**tensors_of(kind), prefix + key: torch.ones(()).expand(shape)})
        assert "is damaged: its tensors don't fit together" in text, (key, shape)


def test_relatives_that_are_refused():
    """IR networks without a normalisation between the convolutions, with squeeze and excitation, or in CVLface's
    wrapper, which does not say whether it takes RGB or BGR."""
    tensors = {key.removeprefix("model."): value for key, value in tensors_of("adaface").items()}
    other = {key: value for key, value in tensors.items() if ".res_layer.2." not in key}
    for old, new in ((3, 2), (4, 3), (5, 4)):
        other = {key.replace(f".res_layer.{old}.", f".res_layer.{new}."): value for key, value in other.items()}
    assert "is an IR face model of another layout than AdaFace's, and" in complaint(adaface.load_adaface, other)
    squeezed = tensors | {"body.0.res_layer.se_block.fc1.weight": torch.ones(4, 64, 1, 1)}
    assert "has tensors too many, 1 of them (the first: 'body.0" in complaint(adaface.load_adaface, squeezed)
    wrapped = {f"net.{key}": value for key, value in tensors.items()}
    assert "is a CVLface model, whose colour order" in complaint(adaface.load_adaface, wrapped)


def test_wrong_family(kind):
    other = {"adaface": "arcface", "arcface": "adaface"}[kind]
    assert "state dict was expected; choose" in complaint(LOADERS[kind], tensors_of(other))
    assert "is a LoRA, and" in complaint(LOADERS[kind], {"a.lora_down.weight": torch.ones(1)})


DESCRIPTORS = {
    "facenet": (lambda: descriptor_files.facenet()[1], 160, None),
    "adaface": (lambda: tensors_of("adaface"), 112, ARCFACE_TEMPLATE),
    "arcface": (lambda: tensors_of("arcface"), 112, ARCFACE_TEMPLATE),
}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_one_function_for_all(name, seen, device):
    """What comes out goes into a FaceEncoder as it is and gives one vector per face of a photograph."""
    tensors, size, template = DESCRIPTORS[name]
    found = load_descriptor(WeightFile("a.pt", tensors()), device=device)
    assert (found.kind, found.dim, found.alignment.side) == (name, 512, size)
    assert isinstance(found.alignment, Boxes) if template is None else found.alignment.template == template
    encoder = FaceEncoder(None, found.module, found.kind, found.dim, found.alignment)
    vectors = encoder.embed(*seen("t1"))
    assert vectors.shape == (6, 512)
    different = F.cosine_similarity(vectors[:, None], vectors[None], dim=2).triu(1)
    assert torch.isfinite(vectors).all() and different.max() < 0.9999


def test_depth_is_read_from_the_keys():
    _, tensors = descriptor_files.adaface(101)
    assert load_descriptor(WeightFile("ir18.ckpt", tensors)).module.depths == (3, 13, 30, 3)


def test_files_without_a_descriptor():
    with pytest.raises(WeightsError) as caught:
        load_descriptor(WeightFile("anna.pth", {"segformer.encoder.weight": torch.ones(1)}))
    assert str(caught.value) == (
        "anna.pth is a SegFormer, and a face descriptor must be a FaceNet, AdaFace, CurricularFace, ArcFace IResNet, "
        "ArcFace IR-SE50, e4e or TransFace state dict; choose one of these."
    )


@pytest.mark.parametrize("size", [112, 128, 224, 256, 512, 896])
def test_template_is_insightfaces(size):
    points = np.array([[30.0, 40], [75, 35], [55, 60], [40, 90], [70, 85]]) * size / 100
    expected = face_align.estimate_norm(points, size)
    found = torch.tensor(arcface_template(size), dtype=torch.float64).numpy()
    ours = _least_squares(points, found)
    np.testing.assert_allclose(ours, expected, atol=1e-6 * size)


def _least_squares(source, target):
    """[2, 3] of the similarity x' = a x - b y + c, y' = b x + a y + d by plain normal equations."""
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, b, c, d = np.linalg.lstsq(np.array(rows), target.T.flatten(), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d]])


@pytest.mark.parametrize("size", [0, -112, 100, 160, 113])
def test_other_sizes_have_no_template(size):
    with pytest.raises(ValueError, match=f"multiple of 112 or 128 pixels, but {size} was asked"):
        arcface_template(size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("project_first", "squeezes"), [(False, False), (True, False), (False, True)])
def test_nothing_is_read_on_the_way(dtype, project_first, squeezes):
    with FakeTensorMode(), StaysOnDevice():
        network = IResNet((2, 2, 2, 2), project_first, squeezes=squeezes, device="cuda", dtype=dtype).eval()
        encoder = FaceEncoder(None, network, "adaface", 512, FivePoints(ARCFACE_TEMPLATE, 112))
        index, host = torch.zeros(3, dtype=torch.long, device="cuda"), HostFace((0.0,) * 4, ((0.0, 0.0),) * 5, 0.9)
        faces = Faces(torch.rand(3, 4, device="cuda"), torch.rand(3, 5, 2, device="cuda"),
                      torch.rand(3, device="cuda"), index, (2, 1), (480, 640), (host,) * 3)  # fmt: skip
        vectors = encoder.embed(torch.rand(2, 480, 640, 3, device="cuda", dtype=dtype), faces)
    assert vectors.device.type == "cuda" and vectors.shape == (3, 512) and vectors.dtype == torch.float32
