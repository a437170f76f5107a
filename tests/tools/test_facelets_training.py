"""The training loop: an interrupted training goes on as if nothing had happened."""

import pytest
import torch
from facelets import training as facelets_training
from torch import nn


@pytest.fixture
def training(tmp_path, monkeypatch):
    monkeypatch.setattr(facelets_training, "BUILD", tmp_path)
    monkeypatch.setattr(facelets_training, "LOG_EVERY", 5)
    return facelets_training


class Interrupted(Exception):
    pass


def line(training, name, stop_at=None):
    """A stage that fits a straight line to points, and breaks off at step `stop_at` if there is one."""

    class Line(training.Stage):
        steps, batch, rate, warm_up = 40, 16, 0.3, 5
        seen = 0

        def build(self):
            return nn.Linear(1, 1)

        def loss(self, model, rng, count, progress):
            if round(progress * self.steps) == stop_at:
                raise Interrupted
            self.seen += 1
            x = torch.from_numpy(rng.normal(size=(count, 1))).float()
            return (model(x) - (3 * x - 1)).square().mean(), {"progress": progress}

        def export(self, model, summary):
            self.exported, self.summary = {key: value.clone() for key, value in model.state_dict().items()}, summary

    stage = Line()
    stage.name = name
    return stage


def test_a_stage_learns_and_says_how(training):
    stage = line(training, "whole")
    training.train(stage, processes=1)
    assert stage.seen == 40 and stage.summary["steps"] == 40 and stage.summary["seed"] == 0
    losses = [entry["loss"] for entry in stage.summary["log"]]
    assert losses[-1] < 0.3 * losses[0]


def test_an_interrupted_training_ends_in_the_same_weights(training, monkeypatch):
    whole, broken, resumed = line(training, "whole"), line(training, "part", stop_at=23), line(training, "part")
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
    assert rates[0] == pytest.approx(stage.rate / stage.warm_up) and max(rates) > 0.9 * stage.rate
    assert rates[-1] < 0.05 * stage.rate and rates[5:] == sorted(rates[5:], reverse=True)


def test_averaged_weights_are_read_back(training):
    stage = line(training, "whole")
    training.train(stage, processes=1)
    read = training.read_averaged(stage, nn.Linear(1, 1))
    assert torch.equal(read.weight, stage.exported["weight"])
