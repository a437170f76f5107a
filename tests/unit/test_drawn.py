"""The faces of drawn portraits, with the weights that ship, on portraits drawn here: where they are and who it is."""

import cv2
import numpy as np
import pytest
import torch
from facelets.world import Identity, Pose, draw, sample_identity, sample_look, sample_pose
from likeness.core.facelets.detection import DIM, FACES, SPACE, TEMPLATE, DrawnDetector, head_boxes, load_drawn
from likeness.core.facelets.networks import DrawnEmbedder
from likeness.core.faces.align.transforms import similarity_transform, transform_points
from likeness.core.faces.found import Faces, HostFace
from likeness.core.places import EMBEDDED
from likeness.core.similarity.scores import percent
from likeness.core.weights import WeightsError
from on_device import StaysOnDevice
from safetensors.torch import load_file
from torch._subclasses.fake_tensor import FakeTensorMode

FILE = EMBEDDED / "facelets/faces.safetensors"


@pytest.fixture(scope="module")
def encoder(device):
    return load_drawn(load_file(FILE), device)


def as_images(pictures, device="cpu"):
    return (torch.from_numpy(np.stack(pictures)).float() / 255).to(device)


def portraits(people, views=1, seed=77):
    """[people * views] portraits, person by person; every one in a look and a pose of its own."""
    rng = np.random.default_rng(seed)
    return [
        draw(person, sample_look(rng), sample_pose(rng))
        for person in [sample_identity(rng) for _ in range(people)]
        for _ in range(views)
    ]


@pytest.fixture(scope="module")
def twenty():
    drawn = portraits(20)
    return [portrait.image for portrait in drawn], np.stack([portrait.landmarks for portrait in drawn])


def test_landmarks_of_twenty_portraits(encoder, twenty, device):
    pictures, truth = twenty
    faces = encoder.detect(as_images(pictures, device))
    assert faces.counts == (1,) * 20 and faces.scores.min() > 0.8
    off = np.linalg.norm(faces.landmarks.cpu().numpy() - truth, axis=2)
    assert off.max() < 3 and off.mean() < 1
    corners = torch.tensor(truth, device=device)
    inside = (corners > faces.boxes[:, None, :2]) & (corners < faces.boxes[:, None, 2:])
    assert inside.all()


@pytest.mark.parametrize("height, width", [(64, 64), (300, 300), (512, 512), (200, 140)])
def test_pictures_of_other_sizes(encoder, twenty, device, height, width):
    pictures, truth = twenty
    area = cv2.INTER_AREA if height < 128 else cv2.INTER_CUBIC
    scaled = [cv2.resize(picture, (width, height), interpolation=area) for picture in pictures[:6]]
    faces = encoder.detect(as_images(scaled, device))
    assert faces.counts == (1,) * 6
    stretch = np.array((width / 128, height / 128))
    expected = (truth[:6] + 0.5) * stretch - 0.5
    off = np.linalg.norm((faces.landmarks.cpu().numpy() - expected) / stretch, axis=2)
    assert off.mean() < 2


def test_several_portraits_on_a_wide_canvas(encoder, twenty, device):
    pictures, truth = twenty
    wide = np.concatenate(pictures[:3], 1)
    faces = encoder.detect(as_images([wide], device)).select("left to right", "all")
    assert faces.counts == (3,)
    expected = truth[:3] + np.array([[[0, 0]], [[128, 0]], [[256, 0]]])
    assert np.linalg.norm(faces.landmarks.cpu().numpy() - expected, axis=2).mean() < 1.5
    tall = np.concatenate(pictures[3:5], 0)
    assert encoder.detect(as_images([tall], device)).counts == (2,)
    beside_nothing = np.concatenate([np.full_like(pictures[0], 90), pictures[5]], 1)
    [face] = encoder.detect(as_images([beside_nothing], device)).on_host
    assert np.linalg.norm(np.array(face.landmarks) - truth[5] - (128, 0), axis=1).mean() < 1.5


def test_a_batch_is_its_images(encoder, twenty, device):
    images = as_images(twenty[0][:3], device)
    together = encoder.detector(images)
    assert together.boxes.shape == (3, FACES, 4) and together.landmarks.shape == (3, FACES, 5, 2)
    for number in range(3):
        alone = encoder.detector(images[number : number + 1])
        torch.testing.assert_close(together.landmarks[number], alone.landmarks[0], atol=1e-2, rtol=0)
        torch.testing.assert_close(together.scores[number], alone.scores[0], atol=1e-4, rtol=0)
        assert torch.equal(together.valid[number], alone.valid[0])


def nobody():
    rng = np.random.default_rng(0)
    yield from (np.full((128, 128, 3), color, np.uint8) for color in ((250, 222, 116), (0, 0, 0), (255, 255, 255)))
    yield rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    for side in (4, 8, 16, 32):  # unfinished latents
        spots = rng.normal(128, 50, (side, side, 3)).clip(0, 255).astype(np.uint8)
        yield cv2.resize(spots, (128, 128), interpolation=cv2.INTER_CUBIC)
    image = portraits(1)[0].image
    yield cv2.GaussianBlur(image, (0, 0), 14)
    tiles = image.reshape(4, 32, 4, 32, 3).swapaxes(1, 2).reshape(16, 32, 32, 3)[rng.permutation(16)]
    yield tiles.reshape(4, 4, 32, 32, 3).swapaxes(1, 2).reshape(128, 128, 3)


def test_pictures_without_a_face(encoder, device):
    pictures = list(nobody())
    images = as_images(pictures, device)
    faces, vectors = encoder(images)
    assert faces.counts == (0,) * len(pictures) and vectors.shape == (0, DIM)
    assert encoder.crop(images, faces, 96).shape == (0, 3, 96, 96)


@pytest.mark.parametrize("height, width", [(1, 1), (31, 400), (32, 32), (33, 700), (2000, 40)])
def test_any_size_goes(encoder, device, height, width):
    found = encoder.detector(torch.rand(2, height, width, 3, device=device))
    places = found.scores.shape[1]
    assert found.boxes.shape == (2, places, 4) and found.landmarks.shape == (2, places, 5, 2)
    assert (places == 0) == (min(height, width) < 32) and places in (0, FACES, 4)
    assert not found.valid.any()


def test_same_people_and_others(encoder, device):
    drawn = portraits(12, views=3, seed=78)
    faces, vectors = encoder(as_images([portrait.image for portrait in drawn], device))
    assert faces.counts == (1,) * 36
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(36, device=device))
    cosines = (vectors @ vectors.T).cpu()
    person = torch.arange(36) // 3
    one = person[:, None] == person
    same, others = cosines[one & ~torch.eye(36, dtype=torch.bool)], cosines[~one]
    assert same.mean() > others.mean() + 0.4
    assert (same[:, None] > others).float().mean() > 0.98
    chances = [torch.tensor([percent(float(cosine), SPACE) for cosine in part]) for part in (same, others)]
    assert chances[0].mean() > 85 and chances[1].mean() < 15


def test_the_template_is_the_average_face():
    look = sample_look(np.random.default_rng(0)).__class__(
        **{**vars(sample_look(np.random.default_rng(0))), "expression": "neutral"}
    )
    portrait = draw(Identity(*[0.0] * 32), look, Pose(roll=0.2, scale=0.9))
    landmarks = torch.from_numpy(portrait.landmarks)[None]
    template = torch.tensor(TEMPLATE)
    assert (transform_points(similarity_transform(landmarks, template), landmarks) - template).abs().max() < 0.05
    unit = 128 * 0.335 * 0.9
    width = np.hypot(0.76 * np.cos(0.2), np.sin(0.2)) * unit
    height = np.hypot(0.76 * np.sin(0.2), np.cos(0.2)) * unit
    expected = torch.tensor([64 - width, 67.84 - height, 64 + width, 67.84 + height])
    torch.testing.assert_close(head_boxes(landmarks)[0], expected.float(), atol=0.1, rtol=0)


def test_half_precision(encoder, twenty):
    weights = load_file(FILE)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16} and FILE.stat().st_size < 1_500_000
    half = load_drawn(weights, dtype=torch.float16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
    images = as_images(twenty[0][:4])
    faces, vectors = half(images)
    expected, others = encoder.cpu()(images)
    assert faces.counts == expected.counts and vectors.dtype == torch.float32
    assert (faces.landmarks - expected.landmarks).abs().max() < 0.5
    assert torch.cosine_similarity(vectors, others).min() > 0.99


def test_what_is_loaded(encoder):
    assert (encoder.space, encoder.dim, encoder.alignment.side) == (SPACE, 128, 64) and not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    weights = load_file(FILE)
    del weights["detector.grid.head.bias"]
    with pytest.raises(WeightsError, match="^faces.safetensors is damaged: .*; fetch it again.$"):
        load_drawn(weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("height, width", [(128, 128), (512, 700)])
def test_nothing_is_read_back(dtype, height, width):
    with FakeTensorMode(), StaysOnDevice():
        image = torch.rand(2, height, width, 3, device="cuda", dtype=dtype)
        found = DrawnDetector("cuda", dtype)(image)
        assert {tensor.device.type for tensor in found} == {"cuda"} and found.scores.shape[0] == 2
        host = HostFace((1.0, 2.0, 30.0, 40.0), ((5.0, 9.0),) * 5, 0.9)
        index = torch.zeros(2, dtype=torch.long, device="cuda")
        faces = Faces(found.boxes[:, 0], found.landmarks[:, 0], found.scores[:, 0], index, (1, 1), (height, width),
                      (host,) * 2)  # fmt: skip
        encoder = load_drawn(fake_weights(), "cuda", dtype)
        vectors = encoder.embed(image, faces)
        assert vectors.device.type == "cuda" and vectors.shape == (2, DIM) and vectors.dtype == torch.float32


def fake_weights():
    parts = {"detector": DrawnDetector("cuda"), "embedder": DrawnEmbedder("cuda")}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
