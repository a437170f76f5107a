"""The generator's two lessons: what they take for truth, and the arithmetic between velocities and pictures."""

import numpy as np
import pytest
import torch
from facelets.dataset import Portraits
from facelets.face_pictures import NOT_SHOWN
from facelets.generator import Generator, noise_levels
from facelets.lesson import Noised
from facelets.reader import SURE, LatentReader, misread, named_answers
from facelets.world import LOOKS, TRAITS


def test_a_velocity_without_error_means_the_picture_itself():
    torch.manual_seed(0)
    latents, noise = torch.randn(3, 16, 16, 16), torch.randn(3, 16, 16, 16)
    level = noise_levels()[torch.tensor([999, 500, 3])].view(-1, 1, 1, 1)
    clear, spread = level.sqrt(), (1 - level).sqrt()
    noisy = clear * latents + spread * noise
    noised = Noised(noisy, torch.zeros(3), clear, clear, spread, clear * noise - spread * latents)
    torch.testing.assert_close(noised.expected(noised.velocity), latents, atol=1e-5, rtol=0)


def test_noise_is_added_as_the_schedule_says():
    class Bare:  # the schedule without the networks
        levels = noise_levels()

    torch.manual_seed(1)
    latents = torch.randn(64, 16, 16, 16)
    noised = Generator.noised_to(Bare, latents, torch.randint(1000, (64,)))
    assert noised.latents.square().mean() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(noised.expected(noised.velocity), latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(noised.clear.flatten().square(), noise_levels()[noised.times.long()])


def test_only_what_a_caption_names_is_asked_of_the_reader():
    answers = torch.arange(2).view(2, 1).expand(2, len(LOOKS)).clone()
    answers[0, list(LOOKS).index("eye_color")] = NOT_SHOWN
    kept = named_answers(answers, ["portrait of a person, sunglasses, blue eyes", ""])
    assert (kept[1] == NOT_SHOWN).all()
    assert [name for name, value in zip(LOOKS, kept[0], strict=True) if value != NOT_SHOWN] == ["glasses"]


def test_doubt_is_the_cross_entropy_above_what_is_sure_enough():
    answers = torch.full((2, len(LOOKS)), NOT_SHOWN)
    answers[0, 0], answers[1, 0] = 1, 0
    logits = [torch.zeros(2, len(values)) for values in LOOKS.values()]
    logits[0][1, 0] = 50  # the second picture is read right beyond doubt
    weights = torch.tensor([1.0, 3.0])
    count = len(next(iter(LOOKS.values())))
    expected = (np.log(count) - SURE) / weights.sum()
    assert misread(logits, answers, weights).item() == pytest.approx(float(expected), rel=1e-5)
    assert misread(logits, torch.full_like(answers, NOT_SHOWN), weights).item() == 0


def test_the_reader_answers_for_every_attribute_trait_and_landmark():
    seen = LatentReader()(torch.zeros(2, 16, 16, 16))
    assert [tuple(part.shape) for part in seen.looks] == [(2, len(values)) for values in LOOKS.values()]
    assert seen.traits.shape == (2, len(TRAITS)) and seen.landmarks.shape == (2, 5, 2)


def test_eyes_and_mouth_count_most():
    class Known:  # what the reckoning looks at
        landmarks = np.array([[[44, 60], [76, 60], [60, 75], [48, 92], [72, 92]]], np.float32)

    emphasis = Portraits.emphasis(Known, np.array([0]))
    assert emphasis.shape == (1, 1, 16, 16) and emphasis.mean().item() == pytest.approx(1, abs=1e-5)
    for best in emphasis[0, 0].flatten().topk(6).indices.tolist():
        row, column = divmod(best, 16)
        place = np.array([column * 8 + 3.5, row * 8 + 3.5])
        assert np.linalg.norm(np.append(Known.landmarks[0], [[60, 92]], 0) - place, axis=1).min() < 8
    assert emphasis[0, 0, 0, 0] < 0.8 < 2.5 < emphasis.max()
    velocity = torch.zeros(1, 16, 16, 16)
    at_mouth, at_corner = velocity.clone(), velocity.clone()
    at_mouth[:, :, 11, 7], at_corner[:, :, 0, 0] = 1, 1
    noised = Noised(None, None, None, None, None, velocity)
    assert noised.error(at_mouth, emphasis) > 3 * noised.error(at_corner, emphasis)
