"""The head's pose from landmarks agrees with insightface's and has the signs that its docstring says."""

import numpy as np
import pytest
import torch
from insightface.utils import transform
from likeness.core.faces.points.head_pose import fit_to, head_pose, load_mean_shape


def test_agrees_with_insightface():
    shape = load_mean_shape()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
        points = 80 * shape @ (turn * torch.linalg.det(turn)).T + 200 + 3 * torch.randn(68, 3, generator=generator)
        camera = transform.estimate_affine_matrix_3d23d(shape.numpy(), points.numpy())
        expected = transform.matrix2angle(transform.P2sRt(camera)[1])
        found = head_pose(points[None], fit_to(shape))[0]
        difference = (found.numpy() - np.array(expected) + 180) % 360 - 180
        assert np.abs(difference).max() < 0.1, (found, expected)


@pytest.mark.parametrize(("angle", "place", "moves"), [("pitch", 0, (0, -1)), ("yaw", 1, (1, 0))])
def test_signs_are_as_said(angle, place, moves):
    shape, turned = load_mean_shape(), np.deg2rad(25)
    cosine, sine = np.cos(turned), np.sin(turned)
    turns = {
        "pitch": [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]],
        "yaw": [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]],
    }
    points = shape @ torch.tensor(turns[angle], dtype=torch.float32).T
    nose = points[30, :2] - shape[30, :2]
    assert nose @ torch.tensor(moves, dtype=torch.float32) > 0.1  # up in the picture, or to its right
    pose = head_pose(50 * points[None, :, :2] + 100, fit_to(shape))[0]
    expected = torch.zeros(3)
    expected[place] = 25.0
    torch.testing.assert_close(pose, expected, atol=0.1, rtol=0)


def test_roll_is_clockwise():
    shape, turned = load_mean_shape(), np.deg2rad(30)
    turn = torch.tensor([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]], dtype=torch.float32)
    points = shape[:, :2] @ turn.T
    assert points[16, 1] > points[0, 1]  # the image-right ear is lower
    pose = head_pose(points[None], fit_to(shape))[0]
    torch.testing.assert_close(pose, torch.tensor([0.0, 0.0, 30.0]), atol=0.1, rtol=0)
