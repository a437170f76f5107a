"""The second opinion on MTCNN's finds: faces stay, things and faces the wrong way up go, and nothing is read back."""

import photographs
import pytest
import torch
from likeness.core.faces.detect import verify
from likeness.core.faces.detect.candidates import Candidates
from likeness.core.faces.detect.mtcnn import FACES, MTCNN
from likeness.core.faces.detect.verify import CERTAIN, STEADY, TILT, Verified
from likeness.core.faces.points.landmarks68 import Landmarks68
from on_device import StaysOnDevice
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

PLACES = torch.tensor([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])


@pytest.fixture(scope="module")
def finds(embedded, seen):
    """(photograph, image, boxes and landmarks that MTCNN finds, per find the labelled person or None)."""
    looked = []
    for name in ("t1", "sample2", "sample4"):
        image, _ = seen(name)
        found = embedded.detector.detector(image)
        boxes, landmarks = found.boxes[found.valid], found.landmarks[found.valid]
        faces = photographs.people()[name]["faces"]
        who = [next((face["person"] for face in faces if photographs.overlap(box, face["box"]) > 0.5), None)
               for box in boxes.tolist()]  # fmt: skip
        looked.append((name, image, boxes, landmarks, who))
    return looked


def everywhere(boxes):
    return torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)


def test_faces_are_steady_and_things_are_not(embedded, finds):
    """A wide gap: the hand, the table and the dress against the profiles and the face in shadow."""
    faces, things = [], []
    for name, image, boxes, landmarks, who in finds:
        columns = embedded.detector.measure(image, boxes, landmarks, everywhere(boxes))
        for person, waver, side, tilt in zip(who, *(column.tolist() for column in columns), strict=True):
            (faces if person else things).append(waver)
            assert person is None or (side > 1.3 and tilt < TILT - 5), (name, person)
    assert len(faces) == 13 and len(things) >= 3
    assert max(faces) < STEADY / 1.4 and min(things) > STEADY * 1.25


def test_landmarks_the_wrong_way_up_are_noticed(embedded, finds):
    """The same faces with landmarks as if they lay on another side."""
    _, image, boxes, landmarks, who = finds[2]
    at = [place for place, person in enumerate(who) if person]
    boxes, landmarks = boxes[at], landmarks[at]
    middle = landmarks.mean(1, keepdim=True)
    assert embedded.detector.is_face(image, boxes, landmarks, everywhere(boxes)).all()
    for turn in ([[0.0, -1], [1, 0]], [[-1.0, 0], [0, -1]], [[0.0, 1], [-1, 0]]):
        wrong = (landmarks - middle) @ landmarks.new_tensor(turn) + middle
        assert not embedded.detector.is_face(image, boxes, wrong, everywhere(boxes)).any()


def test_noise_is_no_face(embedded, device):
    image = torch.rand(1, 200, 200, 3, generator=torch.Generator().manual_seed(0)).to(device)
    corners = torch.tensor([[0.0, 10.0, 40.0], [60, 90, 80], [120, 20, 60], [10, 100, 90]], device=device)
    boxes = torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)
    landmarks = boxes[:, None, :2] + PLACES.to(device) * corners[:, None, 2:]
    assert not embedded.detector.is_face(image, boxes, landmarks, everywhere(boxes)).any()
    flat = torch.full_like(image, 0.5)
    assert not embedded.detector.is_face(flat, boxes[:1], landmarks[:1], everywhere(boxes[:1])).any()


class Given(nn.Module):
    """A detector that says what it was told to."""

    def __init__(self, candidates):
        super().__init__()
        self.candidates = candidates

    def forward(self, image):
        return self.candidates


def test_only_the_least_certain_are_looked_at_again(embedded, device, monkeypatch):
    """More doubtful finds than VERIFIED in a grey picture: the others and the certain ones are taken at their word."""
    monkeypatch.setattr(verify, "VERIFIED", 4)
    count = 12
    corner = torch.arange(count, device=device) * 30.0
    box = torch.stack([corner, corner * 0, corner + 25, corner * 0 + 25], 1)[None]
    points = box[:, :, None, :2] + PLACES.to(device) * 25
    scores = torch.linspace(0.99, 0.6, count, device=device)[None].clone()
    scores[:, :2] = CERTAIN
    valid = torch.ones(1, count, dtype=torch.bool, device=device)
    valid[:, 5] = False
    given = Candidates(box, points, scores, valid)
    kept = Verified(Given(given), embedded.points68)(torch.full((1, 26, count * 30, 3), 0.5, device=device))
    assert kept.valid[0].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert torch.equal(kept.boxes, box) and torch.equal(kept.scores, scores)


def test_of_two_finds_of_one_face_the_better_stays(embedded, device):
    box = torch.tensor([[[10.0, 10, 60, 60], [15, 12, 70, 66], [200, 10, 250, 60]]], device=device)
    points = box[:, :, None, :2] + PLACES.to(device) * 50
    scores = torch.tensor([[1.0, 0.9999, 0.9998]], device=device)
    given = Candidates(box, points, scores, torch.ones(1, 3, dtype=torch.bool, device=device))
    kept = Verified(Given(given), embedded.points68)(torch.rand(1, 80, 260, 3, device=device))
    assert kept.valid.tolist() == [[True, False, True]]


@torch.no_grad()
def test_empty_places_do_no_harm(embedded, device):
    """Landmarks and boxes of no size, or of no number at all, in places that hold no face."""
    for nothing in (0.0, float("nan"), 1e30):
        box, points = (torch.full(shape, nothing, device=device) for shape in ((2, 3, 4), (2, 3, 5, 2)))
        none = torch.zeros(2, 3, dtype=torch.bool, device=device)
        given = Candidates(box, points, torch.zeros(2, 3, device=device), none)
        kept = Verified(Given(given), embedded.points68)(torch.rand(2, 50, 60, 3, device=device))
        assert not kept.valid.any()
    assert not embedded.detector(torch.rand(2, 9, 9, 3, device=device)).valid.any()


def test_nothing_is_read_back():
    with FakeTensorMode(), StaysOnDevice():
        module = Verified(MTCNN("cuda", torch.float16), Landmarks68("cuda", torch.float16))
        found = module(torch.rand(2, 240, 320, 3, device="cuda", dtype=torch.float16))
        assert found.valid.device.type == "cuda" and found.valid.shape == (2, FACES)
