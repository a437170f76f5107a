"""e4e and TransFace against plain networks of their descriptions: narrow ones by numbers, published ones by keys."""

import descriptor_files
import pytest
import torch
from likeness.core.faces.align.alignment import FivePoints
from likeness.core.faces.align.ffhq import FFHQ
from likeness.core.faces.align.templates import ARCFACE_TEMPLATE
from likeness.core.faces.describe import e4e, transface
from likeness.core.faces.describe.descriptors import load_descriptor
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.identity.quality import quality_of
from likeness.core.faces.points.landmarks68 import Landmarks68
from likeness.core.weights import WeightFile, WeightsError, read_weights
from on_device import StaysOnDevice
from references.e4e import Encoder
from references.filling import pictures
from references.transface import TransFace
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

FILES = {"e4e": descriptor_files.e4e, "transface": descriptor_files.transface}
SIZES = {"e4e": 256, "transface": 112}


@pytest.fixture(params=FILES)
def kind(request):
    return request.param


def load(kind, tensors=None, **options):
    return load_descriptor(WeightFile("anna.pt", FILES[kind]()[1] if tensors is None else tensors), **options)


@torch.no_grad()
def test_same_numbers_as_published(kind, device):
    network, tensors = FILES[kind]()
    pixels = pictures(2, SIZES[kind], seed=5)
    expected = network((pixels - 127.5) / 127.5)
    if kind == "e4e":
        expected = expected + tensors["latent_avg"]
    found = load(kind, device=device)
    assert (found.kind, found.dim, found.alignment.side) == (kind, expected[0].numel(), SIZES[kind])
    assert isinstance(found.alignment, FFHQ if kind == "e4e" else FivePoints) and not found.module.training
    assert kind == "e4e" or found.alignment.template == ARCFACE_TEMPLATE
    got = found.module((pixels / 255).to(device))
    assert got.dtype == torch.float32 and expected.std() > 0.1
    assert (got.cpu() - expected.flatten(1)).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(kind, device, half):
    pixels = (pictures(2, SIZES[kind], seed=5) / 255).to(device)
    low, full = load(kind, device=device, dtype=half).module, load(kind, device=device).module
    assert {parameter.dtype for parameter in low.parameters()} == {half}
    assert F.cosine_similarity(low(pixels), full(pixels)).min() > 0.995


def test_published_sizes_fit():
    """Every key and shape of the published networks has its place; without numbers, on the meta device."""
    with torch.device("meta"):
        encoder, patches = Encoder(), TransFace()
        tensors = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
        tensors["latent_avg"] = torch.empty(18, 512)
        found = e4e.load_e4e(tensors, {"encoder_type": "Encoder4Editing"}, device="meta")
        assert found.mean.numel() == 9216 and sum(p.numel() for p in found.parameters()) > 2.5e8
        found = transface.load_transface(dict(patches.state_dict()), device="meta")
    assert found.pos_embed.numel() == 144 * 512 and len(found.blocks) == 12


def test_files_as_they_are_saved(tmp_path, kind):
    tensors = FILES[kind]()[1]
    nested = {"state_dict": {key: tensor for key, tensor in tensors.items() if key != "latent_avg"}}
    nested["opts"] = {"encoder_type": "Encoder4Editing", "stylegan_size": 1024, "lambdas": [1, 2], "path": None}
    if kind == "e4e":
        nested["latent_avg"] = tensors["latent_avg"]
    torch.save(nested, tmp_path / "a.pt")
    file = read_weights(tmp_path / "a.pt")
    assert file.metadata == {"encoder_type": "Encoder4Editing", "stylegan_size": "1024"}
    one, other = load_descriptor(file).module.state_dict(), load(kind).module.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_psp_has_the_layout_and_is_no_e4e():
    tensors = descriptor_files.e4e()[1]
    with pytest.raises(WeightsError) as caught:
        load_descriptor(WeightFile("psp.pt", tensors, {"encoder_type": "GradualStyleEncoder"}))
    assert str(caught.value).startswith("psp.pt is GradualStyleEncoder, which has e4e's layout but is another network;")


def test_incomplete_files_are_refused(kind):
    tensors = FILES[kind]()[1]
    needed = [key for key in tensors if not key.startswith(("decoder.", "senet.", "feature.", "mask_token"))]
    for key in needed[:: max(1, len(needed) // 12)]:
        if key.endswith("num_batches_tracked"):
            continue
        left = {other: tensor for other, tensor in tensors.items() if other != key}
        for broken in (left, left | {key: torch.tensor(1.0)}, left | {key: tensors[key].unsqueeze(0)[:0]}):
            with pytest.raises(WeightsError, match=r"^anna.pt .*; .*\.$"):
                load(kind, broken)


@pytest.fixture(scope="module")
def photograph(embedded, seen):
    """A photograph, two of the faces in it, and the network of 68 landmarks."""
    image, faces = seen("t1")
    return image, faces.select("largest", "0,1"), embedded.points68


@torch.no_grad()
def test_faces_of_a_photograph(kind, device, photograph):
    found, (image, faces, points68) = load(kind, device=device), photograph
    encoder = FaceEncoder(None, found.module, found.kind, found.dim, found.alignment, points68)
    vectors = encoder.embed(image, faces)
    assert vectors.shape == (2, found.dim) and vectors.isfinite().all()
    assert F.cosine_similarity(vectors[:, None], vectors[None], dim=2).triu(1).max() < 0.99999
    if kind == "e4e":
        assert torch.equal(encoder.align(image, faces), FFHQ(256).chips(image, faces, encoder.landmarks68))
    assert (quality_of(image, faces, found.alignment).weight > 0).all()


def test_nothing_is_read_on_the_way(kind):
    with FakeTensorMode(), StaysOnDevice():
        if kind == "e4e":
            module = e4e.E4E([(8, 8, False, 1)] * 24, 16, "cuda", torch.float16).eval()
            alignment = FFHQ(256)
        else:
            module = transface.TransFace(64, 64, 2, "cuda", torch.float16).eval()
            alignment = FivePoints(ARCFACE_TEMPLATE, 112)
        encoder = FaceEncoder(None, module, kind, 0, alignment, Landmarks68("cuda"))
        index, host = torch.zeros(2, dtype=torch.long, device="cuda"), HostFace((0.0,) * 4, ((0.0, 0.0),) * 5, 0.9)
        faces = Faces(torch.rand(2, 4, device="cuda"), torch.rand(2, 5, 2, device="cuda"), torch.rand(2, device="cuda"),
                      index, (2,), (480, 640), (host,) * 2)  # fmt: skip
        vectors = encoder.embed(torch.rand(1, 480, 640, 3, device="cuda"), faces)
    assert vectors.device.type == "cuda" and vectors.dtype == torch.float32 and len(vectors) == 2
