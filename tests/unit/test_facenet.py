"""FaceNet against facenet-pytorch: the network, its pixels, and the whole way from a photograph to a vector."""

import descriptor_files
import numpy as np
import photographs
import pytest
import torch
from facenet_pytorch import MTCNN as PublishedDetector
from facenet_pytorch import extract_face
from likeness.core.faces.align.boxes import Boxes, crop_boxes
from likeness.core.faces.describe.facenet import load_facenet, recognise
from likeness.core.faces.describe.networks.inception_resnet import InceptionResnetV1
from likeness.core.faces.detect.mtcnn import MTCNN
from likeness.core.faces.embedded import load_embedded
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, HostFace
from likeness.core.weights import WeightsError
from on_device import StaysOnDevice
from PIL import Image
from references.filling import pictures
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F


@pytest.fixture(scope="module")
def published():
    return descriptor_files.facenet()[0]


@pytest.fixture
def tensors():
    return dict(descriptor_files.facenet()[1])


@pytest.fixture(scope="module")
def network(device):
    return load_facenet(descriptor_files.facenet()[1], device=device)


@pytest.fixture(scope="module")
def encoder(network, device):
    """With the detector as it was published, which proposes less than the embedded one."""
    detector = MTCNN(device)
    detector.load_state_dict(load_embedded().detector.detector.state_dict())
    return FaceEncoder(detector.eval(), network, "facenet", 512, Boxes(160))


@pytest.fixture(scope="module")
def chips(encoder, device):
    """Real faces [8, 3, 160, 160] as the network wants them."""
    image = photographs.as_image(photographs.picture("t1")).to(device)
    return encoder.align(image, encoder.detect(image, 0.0))


def before_normalisation(published, pixels):
    found = []
    hook = published.last_bn.register_forward_hook(lambda layer, inputs, output: found.append(output))
    unit = published(pixels)
    hook.remove()
    return found[0], unit


@torch.no_grad()
def test_same_vectors_as_facenet_pytorch(network, published, device):
    pixels = pictures(3, 160, seed=5)
    expected, unit = before_normalisation(published, (pixels - 127.5) / 128)
    vectors = network((pixels / 255).to(device)).cpu()
    assert vectors.dtype == torch.float32 and 0.3 < expected.std() < 3
    assert (vectors - expected).abs().max() < 1e-4
    assert (F.normalize(vectors) - unit).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["t1", "sample3"])
def test_whole_chain_on_photographs(encoder, published, device, name):
    """Detection, chips and vectors; sample3's boxes are tall enough for Pillow to begin with the columns."""
    picture = photographs.picture(name)
    image = photographs.as_image(picture).to(device)
    with torch.no_grad():
        crops = PublishedDetector(keep_all=True)(picture)
        expected = published(crops)
    faces = encoder.detect(image, 0.0)
    assert faces.total == len(crops) >= 3
    assert torch.equal((encoder.align(image, faces).cpu() * 255).round(), crops * 128 + 127.5)
    vectors = encoder.embed(image, faces).cpu()
    assert (F.normalize(vectors) - expected).abs().max() < 1e-4


UPRIGHT = ((20.0, 22.0), (42.0, 24.0), (31.0, 33.0), (23.0, 45.0), (40.0, 46.0))


def faces_of(box, landmarks=UPRIGHT, size=(90, 120)):
    host = HostFace(box, landmarks, 0.9)
    return Faces(torch.tensor([box]), torch.tensor([landmarks]), torch.ones(1), torch.zeros(1, dtype=torch.long),
                 (1,), size, (host,))  # fmt: skip


@pytest.mark.parametrize(
    "box",
    [
        (10.9, 20.2, 50.9, 80.1),
        (-30.5, -2.0, 60.0, 200.0),
        (100.7, 10.0, 300.0, 20.0),
        (5.0, 0.0, 9.9, 90.0),
        (0.0, 3.0, 120.0, 5.0),
        (40.2, 40.2, 41.1, 41.3),
    ],
)
def test_boxes_are_cut_as_the_package_cuts_them(box, device):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).float()[None].div(255).to(device)
    for size in (160, 24):
        expected = extract_face(Image.fromarray(pixels), np.array(box), image_size=size)
        chip = crop_boxes(image, faces_of(box), size)[0].cpu()
        assert torch.equal((chip * 255).round(), expected)


@pytest.mark.parametrize("box", [(-50.0, -50.0, -10.0, -10.0), (130.0, 95.0, 150.0, 120.0), (30.6, 30.6, 30.9, 30.9)])
def test_a_box_without_a_pixel_shows_the_nearest(box, device):
    image = torch.rand(1, 90, 120, 3, device=device)
    x, y = min(max(int(box[0]), 0), 119), min(max(int(box[1]), 0), 89)
    chip = crop_boxes(image, faces_of(box), 16).cpu()
    expected = (image[0, y, x].cpu() * 255).round() / 255
    torch.testing.assert_close(chip, expected[None, :, None, None].expand(1, 3, 16, 16), atol=1e-6, rtol=0)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_turned_faces_are_turned_upright(device, quarters):
    """A square image with a face, turned against the clock and told by its landmarks: always the same chip."""
    image = torch.rand(1, 64, 64, 3, device=device)
    turned = UPRIGHT
    for _ in range(quarters):
        turned = tuple((y, 63 - x) for x, y in turned)
    box = (0.0, 0.0, 64.0, 64.0)
    expected = crop_boxes(image, faces_of(box), 64)
    chip = crop_boxes(torch.rot90(image, quarters, (1, 2)), faces_of(box, turned), 64)
    assert torch.equal(chip, expected)


def test_chips_of_a_batch(encoder, device):
    """Faces of the second picture are cut out of the second picture."""
    first, second = photographs.as_image(photographs.picture("t1")), torch.zeros(1, 886, 1280, 3)
    image = torch.cat([second, first, second]).to(device)
    faces = encoder.detect(image, 0.0)
    assert faces.counts == (0, 8, 0)
    alone = first.to(device)
    assert torch.equal(encoder.align(image, faces), encoder.align(alone, encoder.detect(alone, 0.0)))
    nobody = encoder.detect(second.to(device))
    assert encoder.align(second.to(device), nobody).shape == (0, 3, 160, 160)
    assert encoder.embed(second.to(device), nobody).shape == (0, 512)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_on_real_chips(network, tensors, chips, device, half):
    """The weights are random; the published ones may round otherwise."""
    module = load_facenet(tensors, device=device, dtype=half)
    assert {parameter.dtype for parameter in module.parameters()} == {half}
    vectors = module(chips[:2])
    assert vectors.dtype == torch.float32
    assert F.cosine_similarity(vectors, network(chips[:2])).min() > 0.999


def test_the_module_is_ready_for_use(network):
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())


def same(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_files_with_and_without_what_training_left(network, tensors, device):
    bare = {key: tensor for key, tensor in tensors.items() if not key.startswith("logits.")}
    bare = {key: tensor for key, tensor in bare.items() if not key.endswith("num_batches_tracked")}
    for other in (bare, {f"module.{key}": tensor for key, tensor in tensors.items()}):
        assert recognise(other) and same(network, load_facenet(other, device=device))


def complaint(tensors):
    with pytest.raises(WeightsError) as caught:
        load_facenet(tensors, "anna.pt")
    text = str(caught.value)
    assert text.startswith("anna.pt ") and ";" in text and text.endswith(".") and "\n" not in text, text
    return text


@pytest.mark.parametrize(
    "key",
    [
        "conv2d_2a.bn.weight",
        "repeat_1.4.branch2.1.bn.running_var",
        "repeat_2.9.conv2d.bias",
        "mixed_7a.branch2.2.bn.bias",
        "last_linear.weight",
        "last_bn.running_mean",
    ],
)
def test_a_file_without_one_tensor(tensors, key):
    del tensors[key]
    assert f"is incomplete: it lacks {key!r}; fetch it again." in complaint(tensors)


def test_a_file_without_a_whole_block(tensors):
    for part in ("conv2d.weight", "conv2d.bias"):
        del tensors[f"repeat_3.2.{part}"]
    text = complaint(tensors)
    assert "looks like a FaceNet state dict but lacks 2 of its tensors (the first: 'repeat_3.2.conv2d." in text
    short = {key: tensor for key, tensor in tensors.items() if not key.startswith("block8.")}
    assert "lacks" in complaint(short)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("conv2d_1a.conv.weight", (3,)),
        ("conv2d_1a.conv.weight", ()),
        ("conv2d_1a.conv.weight", (1, 30_000, 1, 1)),
        ("repeat_2.3.branch1.1.conv.weight", (128, 128, 7, 1)),
        ("repeat_1.0.branch0.bn.running_var", (1,)),
        ("repeat_1.0.conv2d.bias", (255,)),
        ("last_linear.weight", (128, 1792)),
        ("last_bn.running_mean", (512, 1)),
    ],
)
def test_odd_shapes(tensors, key, shape):
    tensors[key] = torch.ones(shape)
    assert "is damaged: its tensors don't fit together" in complaint(tensors)


def test_files_of_another_kind(tensors):
    assert not recognise({"conv1.weight": torch.ones(1)})
    assert "is a LoRA, and a FaceNet state dict was expected" in complaint({"a.lora_down.weight": torch.ones(1)})
    text = complaint({**tensors, "extra.weight": torch.ones(2)})
    assert "has tensors too many, 1 of them (the first: 'extra.weight')" in text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_nothing_is_read_on_the_way(dtype):
    with FakeTensorMode(), StaysOnDevice():
        module = FaceEncoder(None, InceptionResnetV1("cuda", dtype).eval(), "facenet", 512, Boxes(160))
        image = torch.rand(1, 90, 120, 3, device="cuda", dtype=dtype)
        box = torch.rand(1, 4, device="cuda")
        host = HostFace((10.0, 20.0, 50.0, 80.0), UPRIGHT, 0.9)
        points, index = torch.rand(1, 5, 2, device="cuda"), torch.zeros(1, dtype=torch.long, device="cuda")
        faces = Faces(box, points, torch.ones(1, device="cuda"), index, (1,), (90, 120), (host,))
        chips, vectors = module.align(image, faces), module.embed(image, faces)
    assert chips.device.type == vectors.device.type == "cuda"
    assert chips.shape == (1, 3, 160, 160) and vectors.shape == (1, 512) and vectors.dtype == torch.float32
