"""Training and nodes agree: the adapter is taught through what ApplyIDAdapter and LandmarkControl do."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from facelets.adapter import attention_sites, new_adapter
from facelets.dataset import shared_look
from facelets.likeness import drawn_landmarks, weighted
from facelets.world import LOOKS, sample_look
from likeness.core.adapters import load_adapter
from likeness.core.faces.points import landmark_json
from likeness.core.host.facelets import load
from likeness.core.host.prompts import landmarks
from likeness.core.host.unet import sites as sites_module
from likeness.core.weights import WeightFile


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
