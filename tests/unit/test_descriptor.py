"""The descriptor against face-api's own JavaScript, its weight file, and the encoder around it."""

import hashlib
import json
import re

import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.describe.dlib import DlibResNet, read_dlib_resnet
from likeness.core.faces.detect.candidates import Candidates
from likeness.core.faces.embedded import load_embedded
from likeness.core.faces.encoder import FaceEncoder
from likeness.core.faces.found import Faces, parse_index
from likeness.core.places import EMBEDDED
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

ROOT = photographs.ROOT


@pytest.fixture(scope="module")
def encoder(device):
    return load_embedded(device=device)


def reference():
    """Chips [N, 3, 150, 150] and what face-api's JavaScript made of them [N, 128]."""
    recipes = json.loads((ROOT / "tests" / "data" / "face_api_vectors.json").read_text())
    chips = torch.from_numpy(np.stack([photographs.reference_chip(recipe) for recipe in recipes]))
    return chips.permute(0, 3, 1, 2).float() / 255, torch.tensor([recipe["vector"] for recipe in recipes])


@torch.no_grad()
def test_descriptors_are_face_apis(encoder, device):
    chips, expected = reference()
    assert len(chips) >= 8
    got = encoder.embedder(chips.to(device)).cpu()
    assert F.cosine_similarity(got.double(), expected.double()).min() > 1 - 1e-6
    assert (got - expected).abs().max() < 1e-5


@torch.no_grad()
def test_half_precision_weights_stay_close(device):
    chips, expected = reference()
    module = DlibResNet(device=device, dtype=torch.bfloat16)
    module.load_state_dict(read_dlib_resnet(EMBEDDED / "dlib_resnet34.safetensors"))
    got = module(chips[:4].to(device)).float().cpu()
    assert F.cosine_similarity(got, expected[:4]).min() > 0.999


def test_weights_are_the_published_numbers():
    """Folding apart, the file holds exactly what the package's manifest and binary say."""
    package = ROOT / "build" / "face-api" / "package" / "model"
    [manifest] = json.loads((package / "face_recognition_model-weights_manifest.json").read_text())
    data = (package / "face_recognition_model.bin").read_bytes()
    stored, offset = load_file(EMBEDDED / "dlib_resnet34.safetensors"), 0
    for entry in manifest["weights"]:
        quantised = entry.get("quantization")
        values = np.frombuffer(data, "u1" if quantised else "<f4", int(np.prod(entry["shape"])), offset)
        offset += values.nbytes
        values = values.reshape(entry["shape"])
        name = entry["name"].replace("/", ".")
        values = np.moveaxis(values, [3, 2], [0, 1]) if values.ndim == 4 else values.T
        assert np.array_equal(stored[name].numpy(), values)
        if quantised:
            assert stored[f"{name}.quantisation"].tolist() == [quantised["scale"], quantised["min"]]
    assert offset == len(data)


def test_notice_names_every_file_with_its_checksum():
    notice = (EMBEDDED / "NOTICE.md").read_text()
    for name in ("mtcnn", "dlib_resnet34", "landmarks68"):
        content = (EMBEDDED / f"{name}.safetensors").read_bytes()
        assert re.search(rf"`{name}\.safetensors`[^#]*{hashlib.sha256(content).hexdigest()}", notice)


class FixedDetector(nn.Module):
    """A detector of boxes given beforehand: (image, box, score) each, landmarks on the template's places in the box."""

    def __init__(self, faces, images):
        super().__init__()
        self.boxes = torch.zeros(images, 6, 4)
        self.landmarks = torch.zeros(images, 6, 5, 2)
        self.scores = torch.zeros(images, 6)
        self.valid = torch.zeros(images, 6, dtype=torch.bool)
        places = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        for place, (image, box, score) in enumerate(faces):
            corner, opposite = torch.tensor(box[:2]), torch.tensor(box[2:])
            self.boxes[image, place] = torch.tensor(box)
            self.landmarks[image, place] = corner + places * (opposite - corner)
            self.scores[image, place], self.valid[image, place] = score, True

    def forward(self, image):
        return Candidates(*(t.to(image.device) for t in (self.boxes, self.landmarks, self.scores, self.valid)))


SMALL, MIDDLE, LARGE = (60.0, 5.0, 80.0, 30.0), (10.0, 10.0, 40.0, 40.0), (30.0, 30.0, 90.0, 95.0)


def fixed(faces, images, encoder):
    return FaceEncoder(FixedDetector(faces, images), encoder.embedder, "test", 128, encoder.alignment)


@pytest.fixture()
def three(encoder, device):
    """Image 0 with a small, a large and a middle face, image 1 with none, image 2 with one."""
    faces = [(0, SMALL, 0.99), (0, LARGE, 0.8), (0, MIDDLE, 0.9), (2, MIDDLE, 0.7), (2, LARGE, 0.4)]
    return fixed(faces, 3, encoder).detect(torch.rand(3, 100, 110, 3, device=device))


def boxes(faces):
    return [tuple(box) for box in faces.boxes.tolist()]


def test_faces_are_grouped_largest_first(three):
    assert three.counts == (3, 0, 1) and three.total == 4 and three.image_size == (100, 110)
    assert boxes(three) == [LARGE, MIDDLE, SMALL, MIDDLE]
    assert three.image_index.tolist() == [0, 0, 0, 2]
    assert [face.box for face in three.on_host] == boxes(three)
    torch.testing.assert_close(three.scores.cpu(), torch.tensor([0.8, 0.9, 0.99, 0.7]))
    points = torch.tensor([face.landmarks for face in three.on_host])
    torch.testing.assert_close(points, three.landmarks.cpu())


@pytest.mark.parametrize("order, expected", [
    ("largest", [LARGE, MIDDLE, SMALL]), ("left to right", [MIDDLE, LARGE, SMALL]),
    ("most confident", [SMALL, MIDDLE, LARGE]),
])  # fmt: skip
def test_order_and_index(three, order, expected):
    assert boxes(three.select(order, "all")) == [*expected, MIDDLE]
    chosen = three.select(order, "2, 0,7")
    assert boxes(chosen) == [expected[2], expected[0], MIDDLE]
    assert chosen.counts == (2, 0, 1) and chosen.image_index.tolist() == [0, 0, 2]
    assert [face.box for face in chosen.on_host] == boxes(chosen)
    assert three.select(order, "1").counts == (1, 0, 0)


TWINS = [(4.0, 4.0, 44.0, 44.0), (60.0, 4.0, 100.0, 44.0), (4.0, 55.0, 44.0, 95.0)]


@pytest.mark.parametrize("order", ["largest", "left to right", "most confident"])
@pytest.mark.parametrize("noise", [0.0, 0.05, -0.05])
def test_faces_that_are_as_good_as_equal_go_by_where_they_are(encoder, device, order, noise):
    """Half precision and another batch move a box by a twentieth of a pixel and a score by a ten-thousandth."""
    faces = [
        (0, tuple(edge + noise * (number - 1) * (-1 if side < 2 else 1) for side, edge in enumerate(box)),
         0.9 + noise * number / 500)
        for number, box in enumerate(TWINS)
    ]  # fmt: skip
    found = fixed(faces, 1, encoder).detect(torch.rand(1, 100, 110, 3, device=device))
    ordered = [[round(edge / 4) * 4 for edge in box[:2]] for box in boxes(found.select(order, "all"))]
    assert ordered == [[4, 4], [4, 56], [60, 4]]


@pytest.mark.parametrize("index", ["", "a", "1;2", "-1", "0,", "1.5", "²"])
def test_bad_index_is_refused(three, index):
    with pytest.raises(ValueError, match="Face index"):
        three.select("largest", index)
    with pytest.raises(ValueError, match="Unknown face order"):
        three.select("biggest", "0")


def test_index_counts_each_position_once():
    assert parse_index(" all ") is None and parse_index("2,0, 2") == [2, 0]


def test_parts_join_to_the_whole(three):
    joined = Faces.concatenate([three, three])
    assert joined.counts == (3, 0, 1, 3, 0, 1)
    assert joined.image_index.tolist() == [0, 0, 0, 2, 3, 3, 3, 5]
    assert boxes(joined) == boxes(three) * 2 and joined.on_host == three.on_host * 2


def test_description_is_plain_numbers(three):
    described = json.loads(json.dumps(three.describe()))
    assert [[face["number"] for face in image["faces"]] for image in described] == [[0, 1, 2], [], [0]]
    assert described[0]["faces"][2]["box"] == list(SMALL)
    assert described[2]["faces"][0]["confidence"] == pytest.approx(0.7)
    assert described[0]["faces"][0]["landmarks"][0] == pytest.approx([48, 56])


def test_no_faces_anywhere(encoder, device):
    image = torch.rand(2, 90, 100, 3, device=device)
    faces = encoder.detect(image)
    assert faces.counts == (0, 0) and faces.total == 0
    assert encoder.embed(image, faces).shape == (0, 128)
    assert encoder.align(image, faces).shape == (0, 3, 150, 150)
    assert encoder.crop(image, faces, 64).shape == (0, 3, 64, 64)
    assert faces.select("left to right", "0,3").counts == (0, 0)
    assert faces.describe() == [{"faces": []}, {"faces": []}]
    assert Faces.concatenate([faces, faces]).counts == (0, 0, 0, 0)
    assert encoder.detect(torch.rand(1, 8, 8, 3, device=device)).counts == (0,)


def test_crops_show_the_box_in_the_middle(encoder, device):
    """A white box on black: the cut-out is 1.6 boxes wide, so the box fills the middle 62.5 %."""
    image = torch.zeros(1, 200, 220, 3, device=device)
    image[:, 60:120, 80:140] = 1
    finder = fixed([(0, (80.0, 60.0, 140.0, 120.0), 0.9)], 1, encoder)
    cut = finder.crop(image, finder.detect(image), 96)[0, 0].cpu()
    expected = torch.zeros(96, 96)
    expected[18:78, 18:78] = 1
    assert (cut - expected).abs().max() < 1e-4
