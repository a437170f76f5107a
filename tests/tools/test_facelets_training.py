"""The training loop: an interrupted training goes on as if nothing had happened."""

import json

import pytest
import torch
from facelets import training as facelets_training
from torch import nn


@pytest.fixture
def training(tmp_path, monkeypatch):
    monkeypatch.setattr(facelets_training, "BUILD", tmp_path)
    monkeypatch.setattr(facelets_training, "FINISHED", tmp_path / "finished")
    monkeypatch.setattr(facelets_training, "LOG_EVERY", 5)
    return facelets_training


class Interrupted(Exception):
    pass


def line(training, name, stop_at=None, matrix_rate=0.0):
    """A stage that fits a straight line to points, and breaks off at step `stop_at` if there is one; with matrix_rate
    two convolutions in a row."""

    class Line(training.Stage):
        steps, batch, rate, warm_up = 40, 16, 0.3, 5
        seen = 0

        def build(self):
            if not matrix_rate:
                return nn.Linear(1, 1)
            first, last = nn.Conv2d(1, 8, (1, 3), padding=(0, 1)), nn.Conv2d(8, 1, 1)
            return nn.Sequential(first, last).to(memory_format=torch.channels_last)

        def is_matrix(self, name):
            return name == "0.weight"

        def loss(self, model, rng, count, progress):
            if round(progress * self.steps) == stop_at:
                raise Interrupted
            self.seen += 1
            shape = (count, 1, 1, 2) if matrix_rate else (count, 1)
            x = torch.from_numpy(rng.normal(size=shape)).float()
            return (model(x) - (3 * x - 1)).square().mean(), {"progress": progress}

        def export(self, model, summary):
            self.exported, self.summary = {key: value.clone() for key, value in model.state_dict().items()}, summary

    stage = Line()
    stage.name, stage.matrix_rate = name, matrix_rate
    return stage


def test_a_stage_learns_and_says_how(training):
    stage = line(training, "whole")
    training.train(stage, processes=1)
    assert stage.seen == 40 and stage.summary["steps"] == 40 and stage.summary["seed"] == 0
    losses = [entry["loss"] for entry in stage.summary["log"]]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("matrix_rate", [0.0, 0.1], ids=["AdamW", "Muon"])
def test_an_interrupted_training_ends_in_the_same_weights(training, monkeypatch, matrix_rate):
    whole = line(training, "whole", matrix_rate=matrix_rate)
    broken, resumed = line(training, "part", 23, matrix_rate), line(training, "part", matrix_rate=matrix_rate)
    training.train(whole, processes=1)
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    with pytest.raises(Interrupted):
        training.train(broken, processes=1)
    training.train(resumed, processes=1)
    assert resumed.seen == 40 - 23
    for key, value in whole.exported.items():
        assert torch.equal(value, resumed.exported[key])


def test_the_rate_rises_then_falls(training):
    stage = line(training, "rates")
    rates = [training.rate_at(stage, step) for step in range(stage.steps)]
    assert rates[0] == pytest.approx(1 / stage.warm_up) and 0.9 < max(rates) <= 1
    assert rates[-1] < 0.05 and rates[5:] == sorted(rates[5:], reverse=True)


def test_averaged_weights_are_read_back(training):
    stage = line(training, "whole")
    training.train(stage, processes=1)
    read = training.read_averaged(stage, nn.Linear(1, 1))
    assert torch.equal(read.weight, stage.exported["weight"])


def test_muon_moves_matrices_and_adamw_the_rest(training):
    """A step of Muon moves a convolution's weights along the nearest orthogonal matrix of its gradient, whatever their
    layout in memory."""
    stage = line(training, "whole", matrix_rate=0.1)
    stage.rate, stage.decay = 0.0, 0.0
    torch.manual_seed(3)
    for layout in (torch.contiguous_format, torch.channels_last):
        model = nn.Sequential(nn.Conv2d(4, 6, 3)).to(memory_format=layout)
        before = model[0].weight.detach().clone()
        optimizers = training.Optimizers(stage, model)
        model(torch.randn(2, 4, 5, 5)).square().sum().backward()
        optimizers.step(1.0)
        moved = (before - model[0].weight).flatten(1)
        values = torch.linalg.svdvals(moved) / (0.1 * 0.2 * 36**0.5)  # as long as AdamW's steps are on the whole
        assert 0.6 < values.min() and values.max() < 1.3
        u, _, v = torch.linalg.svd(model[0].weight.grad.flatten(1), full_matrices=False)
        assert torch.cosine_similarity(moved.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_a_finished_stage_is_not_trained_again(training, capsys):
    first, again = line(training, "whole"), line(training, "whole")
    training.train(first, processes=1)
    training.train(again, processes=1)
    account = json.loads(first.account.read_text())
    assert again.seen == 0 and "finished" in capsys.readouterr().out
    assert account["steps"] == 40 and account["device"] == "cpu" and len(account["log"]) > 5


def test_weights_that_a_step_leaves_out_stay_as_they_are(training):
    """With momentum too: Muon's steps have one length, however small the gradient."""
    model = nn.ModuleList(nn.Linear(3, 3) for _ in range(2))
    stage = line(training, "halves", matrix_rate=0.1)
    stage.is_matrix = lambda name: True
    optimizers = training.Optimizers(stage, model)
    for used in (model, model[:1]):
        before = model[1].weight.clone()
        model.zero_grad()
        sum(layer(torch.ones(3)).sum() for layer in used).backward()
        optimizers.step(1.0)
    assert torch.equal(model[1].weight, before)
