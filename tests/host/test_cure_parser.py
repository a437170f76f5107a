"""The cure with a face parser: it shows it the foundation's picture to come, and goes where the parser says."""

import logging

import pytest
import torch
from likeness.core.host.comfyui.managed import managed
from likeness.core.host.faces.parser import find_parser


class Vae:
    """A VAE of eight pixels a cell, without a network; what it was shown is kept."""

    def __init__(self):
        self.patcher = managed(torch.nn.Linear(1, 1))
        self.seen = []

    def decode(self, latent):
        self.seen.append(latent)
        return latent[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3).movedim(1, -1).sigmoid()


@pytest.fixture
def vae():
    return Vae()


@pytest.fixture
def parser(parser_file):
    return find_parser()


def run(case, **options):
    seen = []
    cured = case.cure(observe=lambda attributes, masks: seen.append(masks), **options)
    picture = case.sample(cured, steps=5)
    return picture, seen[0], cured


def test_attributes_are_where_the_parser_says(sd15, vae, parser):
    """In freecure, which has a mask for each and gives parsed regions 0.75, as published."""
    words = {"attributes": "curly red hair, green hat, portrait", "mode": "freecure"}
    plain, _, _ = run(sd15, **words)
    picture, masks, cured = run(sd15, vae=vae, **words)
    [latent] = vae.seen  # decoded once in a run
    assert latent.shape == (1, 4, 16, 16)
    hair, hat = parser.probabilities(vae.decode(latent), [17, 18], (16, 16))[0]
    torch.testing.assert_close(masks[0, 0], 0.75 * hair)
    torch.testing.assert_close(masks[0, 1], 0.75 * hat)
    assert set(masks[0, 2].unique().tolist()) == {0, 1}  # no class is a portrait
    assert (picture - plain).abs().max() > 1e-3
    loaded = cured.get_additional_models()
    assert [model.model for model in loaded] == [vae.patcher.model, parser.patcher.model]


def test_one_mask_for_all_covers_what_the_parser_does_not_know(sd15, vae, parser):
    _, before, _ = run(sd15)
    _, masks, _ = run(sd15, vae=vae)
    hair_hat = parser.probabilities(vae.decode(vae.seen[0]), [17, 18], (16, 16)).amax(dim=1, keepdim=True)
    torch.testing.assert_close(masks, torch.maximum(before, hair_hat))
    _, masks, _ = run(sd15, vae=vae, attributes="green hat")
    torch.testing.assert_close(masks, parser.probabilities(vae.decode(vae.seen[2]), [18], (16, 16)))


def test_a_mask_of_the_artists_still_limits_it(sd15, vae, parser):
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    _, masks, _ = run(sd15, vae=vae, mask=left)
    assert masks[..., :8].max() > 0 and not masks[..., 8:].any()


def test_without_a_parser_the_vae_changes_nothing(sd15, vae, caplog):
    with caplog.at_level(logging.WARNING):
        picture, _, _ = run(sd15, vae=vae)
    assert "no face parser in models/face_parsing" in caplog.text and not vae.seen
    assert torch.equal(picture, run(sd15)[0])


def test_a_parser_that_can_not_help_is_not_asked(sd15, vae, parser):
    picture, _, cured = run(sd15, vae=vae, attributes="laughing")
    assert not vae.seen and not cured.get_additional_models()
    assert torch.equal(picture, run(sd15, attributes="laughing")[0])
