"""Training and nodes agree: the adapter is taught through what ApplyIDAdapter and LandmarkControl do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from facelets import likeness
from facelets.adapter import AdapterWeight, UNetLikeness, attention_sites, new_adapter
from facelets.dataset import shared_look
from facelets.lesson import Noised
from facelets.likeness import drawn_landmarks, weighted
from facelets.world import LOOKS, sample_look
from likeness.core.adapters import load_adapter
from likeness.core.faces.points import landmark_json
from likeness.core.host.facelets import load
from likeness.core.host.prompts import landmarks
from likeness.core.host.unet import sites as sites_module
from likeness.core.weights import WeightFile
from torch import nn


def test_sites_are_numbered_as_the_nodes_number_them():
    model = load.load_facelets()[0]
    sites = attention_sites(SimpleNamespace(unet=model.model.diffusion_model))
    known = sites_module.attention_sites(model)
    assert [key for key, _ in sites] == [site.key for site in known]


def test_landmarks_are_drawn_as_the_node_draws_them():
    points = np.array([[[44.2, 60], [76, 58.7], [60, 75], [48, 92], [72.5, 91]]], np.float32)
    source = landmarks.PoseSource(None, None, landmark_json.landmarks_to_json(points[0], 128, 128), "0", "error")
    drawn, _ = landmarks.draw(source, landmarks.Placement(0, 0, 1, 0), (128, 128))
    assert torch.equal(drawn_landmarks(points), drawn.movedim(-1, 1))


def test_a_new_adapter_is_a_file_that_the_loader_knows():
    model = load.load_facelets()[0]
    trained = new_adapter(SimpleNamespace(unet=model.model.diffusion_model))
    tensors = {key: value.half() for key, value in trained.state_dict().items()}
    file = WeightFile("x.safetensors", tensors, {"likeness.face_space": "facelets-128"})
    loaded = load_adapter(file)
    assert loaded.spec.family == "instantid" and loaded.spec.face_space == "facelets-128"


def test_references_share_as_much_as_they_should():
    rng = np.random.default_rng(4)
    looks = [sample_look(rng) for _ in range(300)]

    def alike(shared):
        pairs = [(look, shared_look(look, rng, shared)) for look in looks]
        return np.mean([getattr(one, name) == getattr(two, name) for one, two in pairs for name in LOOKS])

    chance, most = alike(0.0), alike(0.85)
    assert alike(1.0) == 1 and most == pytest.approx(0.85 + 0.15 * chance, abs=0.02) and chance < 0.5


def test_weights_of_nothing_are_no_division_by_zero():
    values = torch.tensor([1.0, 5.0])
    assert weighted(values, torch.tensor([1.0, 3.0])) == 4 and weighted(values, torch.zeros(2)) == 0


class OneNumber(likeness.Likeness):
    """What stands for a base predicts 2 everywhere, and its adapter adds its own number, by the weight."""

    def __init__(self):
        super().__init__()
        self.adapter = nn.Module()
        self.adapter.adds = nn.Parameter(torch.tensor(3.0))
        self.base = SimpleNamespace(noised=noised_all_the_way, prompt=lambda rows: rows)

    def identity(self, vectors):
        return vectors[:, None]

    def control_residuals(self, noised, hints, prompt, tokens):
        return None

    def predicted(self, noised, prompt, tokens, residuals, weights=1.0):
        nobody = torch.full_like(noised.latents, 2)
        return nobody if tokens is None else nobody + (weights * self.adapter.adds)[..., None]

    def reader(self, latents):
        count = len(latents)
        return SimpleNamespace(looks=[], traits=torch.zeros(count, 32), vectors=torch.zeros(count, 128),
                               landmarks=torch.zeros(count, 5, 2))  # fmt: skip


def noised_all_the_way(latents):
    share = torch.ones(len(latents), 1, 1, 1)
    return Noised(latents, share.flatten(), 0 * share, 0 * share, share, torch.full_like(latents, 10.0))


@pytest.fixture
def lesson(monkeypatch):
    """The second lesson on six portraits, with the adapter alone, for the denoising error only."""
    count = 6

    class Six(SimpleNamespace):
        def __len__(self):
            return count

    portraits = Six(
        latents=torch.zeros(count, 16, 16, 16), references=np.ones((count, 3, 128)) / 128**0.5,
        landmarks=np.zeros((count, 5, 2), np.float32), identities=np.zeros((count, 32), np.float32),
        look=lambda place: sample_look(np.random.default_rng(place)), emphasis=lambda places: torch.ones(1),
    )  # fmt: skip
    monkeypatch.setattr(likeness, "misread", lambda *_: torch.zeros(()))
    monkeypatch.setattr(likeness, "answers_of", lambda *_: torch.zeros(()))
    monkeypatch.setattr(likeness, "FACE", 0.0)
    monkeypatch.setattr(likeness, "TRAIT", 0.0)
    lesson = AdapterWeight()
    lesson.kinds = {likeness.ALONE: 1.0}
    lesson.__dict__["portraits"] = portraits
    return lesson


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_the_second_lesson_asks_for_less_of_the_person_at_a_lower_weight(lesson, monkeypatch, part):
    model = OneNumber()
    monkeypatch.setattr(lesson, "asked_for", lambda rng, count: (torch.full((count,), part), likeness.DEFAULT))
    loss, _ = lesson.loss(model, np.random.default_rng(1), 4, 0.5)
    target = 2 + part**3 * (10 - 2)
    torch.testing.assert_close(loss.detach(), torch.tensor((2 + 0.8 * part * 3 - target) ** 2))
    loss.backward()
    assert (model.adapter.adds.grad != 0) == (part > 0)


def test_half_of_its_pictures_are_at_a_lower_weight(lesson):
    parts, weight = lesson.asked_for(np.random.default_rng(2), 4000)
    assert weight == 0.8 and (parts < 1).float().mean() == pytest.approx(0.5, abs=0.03)
    assert parts[parts < 1].mean() == pytest.approx(0.5, abs=0.03)


def test_what_a_lesson_learned_is_recalled(lesson):
    first, second = OneNumber(), OneNumber()
    with torch.no_grad():
        first.adapter.adds.fill_(7)
    second.recall(first.learned())
    assert first.learned().keys() == {"adapter.adds"} and second.adapter.adds == 7


def test_a_weaker_file_is_a_lower_weight():
    model = UNetLikeness().requires_grad_(False)
    torch.manual_seed(3)
    noised = model.base.noised_to(torch.randn(2, 16, 16, 16), torch.tensor([900, 400]))
    context, tokens = torch.randn(2, 77, 128), model.identity(torch.randn(2, 128))
    lower = model.predicted(noised, context, tokens, None, torch.full((2, 1, 1), 0.5))
    whole = model.predicted(noised, context, tokens, None)
    model.weaken(0.5)
    weaker = model.predicted(noised, context, tokens, None)
    assert (weaker - lower).abs().max() < 1e-5 * lower.abs().max() < (whole - lower).abs().max()
