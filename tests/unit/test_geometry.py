"""Alignment and sampling against scikit-image, OpenCV and plain means."""

import cv2
import numpy as np
import pytest
import torch
from likeness.core.faces.align.templates import DLIB_TEMPLATE
from likeness.core.faces.align.transforms import invert, similarity_transform, transform_points, warp
from skimage.transform import SimilarityTransform
from torch.nn import functional as F

TEMPLATE = torch.tensor(DLIB_TEMPLATE)


def landmarks(count, seed=0):
    """Templates turned, scaled and moved over a 2000-pixel image, then shaken."""
    generator = np.random.default_rng(seed)
    points = []
    for _ in range(count):
        scale, turn, x, y = generator.uniform((0.2, -3, 0, 0), (7, 3, 2000, 2000))
        transform = SimilarityTransform(scale=scale, rotation=turn, translation=(x, y))
        points.append(transform(TEMPLATE.numpy()) + generator.normal(0, 3, (5, 2)))
    return torch.tensor(np.array(points), dtype=torch.float32)


def test_similarity_is_umeyamas(device):
    source = landmarks(40)
    ours = similarity_transform(source.to(device), TEMPLATE.to(device)).cpu().numpy()
    for points, matrix in zip(source.numpy().astype(np.float64), ours, strict=True):
        reference = SimilarityTransform.from_estimate(points, TEMPLATE.numpy().astype(np.float64)).params[:2]
        # in chip pixels, which is what counts, over the landmarks
        expected, got = (points @ m[:, :2].T + m[:, 2] for m in (reference, matrix))
        assert np.abs(expected - got).max() < 5e-3


def test_similarity_never_mirrors(device):
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0])
    matrix = similarity_transform(mirrored[None].to(device), TEMPLATE.to(device))
    assert torch.det(matrix[0, :, :2]) > 0


def test_invert_undoes(device):
    matrices = similarity_transform(landmarks(20).to(device), TEMPLATE.to(device))
    points = torch.rand(20, 30, 2, device=device) * 2000
    back = transform_points(invert(matrices), transform_points(matrices, points))
    torch.testing.assert_close(back, points, atol=2e-2, rtol=0)


def smooth_image(height, width, seed=0):
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("seed", range(3))
def test_warp_matches_opencv(device, seed):
    image = torch.cat([smooth_image(240, 320, seed), smooth_image(240, 320, seed + 10)])
    generator = np.random.default_rng(seed)
    matrices = np.stack(
        [
            np.array([[s * np.cos(a), -s * np.sin(a), x], [s * np.sin(a), s * np.cos(a), y]])
            for s, a, x, y in generator.uniform((0.4, -3, -80, -80), (2.5, 3, 80, 80), (6, 4))
        ]
    ).astype(np.float32)
    index = torch.tensor([0, 1, 1, 0, 1, 0])
    ours = warp(image.to(device), index.to(device), torch.from_numpy(matrices).to(device), 112, antialias=False).cpu()
    for i, matrix in enumerate(matrices):
        reference = cv2.warpAffine(image[index[i]].numpy(), matrix, (112, 112), flags=cv2.INTER_LINEAR)
        difference = (ours[i].permute(1, 2, 0) - torch.from_numpy(reference)).abs()
        # OpenCV may round positions to 1/32 pixel; at the image's border that shows most
        assert difference.mean() < 1e-3
        assert difference.quantile(0.99) < 2e-2


def test_outside_is_zero_and_edges_fade(device):
    image = torch.ones(1, 20, 20, 3, device=device)
    matrix = torch.tensor([[[1.0, 0.0, 10.5], [0.0, 1.0, 10.5]]], device=device)
    chip = warp(image, torch.zeros(1, dtype=torch.long, device=device), matrix, 40, antialias=False)[0, 0]
    assert chip[:10].abs().max() == 0 and chip[31:].abs().max() == 0
    torch.testing.assert_close(chip[10, 15:25], torch.full((10,), 0.5, device=device))
    torch.testing.assert_close(chip[12:30, 12:30], torch.ones(18, 18, device=device))


def large_face(side):
    scale = 150 / side
    return torch.tensor([[[scale, 0.0, scale * 0.5 - 0.5], [0.0, scale, scale * 0.5 - 0.5]]])


def test_large_faces_do_not_alias(device):
    """One-pixel stripes of a 1100-pixel face are grey in its chip; without antialiasing they are moire."""
    image = torch.zeros(1, 1100, 1100, 3)
    image[:, :, ::2] = 1
    arguments = (image.to(device), torch.zeros(1, dtype=torch.long, device=device), large_face(1100).to(device), 150)
    # the outermost pixels reach past the image's border, which is black
    assert warp(*arguments, antialias=True)[..., 2:-2, 2:-2].sub(0.5).abs().max() < 1e-3
    assert warp(*arguments, antialias=False).std() > 0.2


def test_antialiased_chips_keep_their_place(device):
    """A smooth large face comes out as its area means, at the same place for every level of the pyramid."""
    for side in (300, 600, 1100, 1700):
        image = smooth_image(side // 8 * 8, side // 8 * 8, side)
        side = image.shape[1]
        image = F.avg_pool2d(image.permute(0, 3, 1, 2), 9, 1, 4, count_include_pad=False).permute(0, 2, 3, 1)
        index = torch.zeros(1, dtype=torch.long, device=device)
        chip = warp(image.to(device), index, large_face(side).to(device), 150, antialias=True).cpu()
        expected = F.interpolate(image.permute(0, 3, 1, 2), (150, 150), mode="area")
        blur = F.avg_pool2d(expected, 3, 1)
        assert (F.avg_pool2d(chip, 3, 1) - blur).abs().mean() < 0.01
        moved = F.avg_pool2d(expected.roll(1, 3), 3, 1)
        assert (F.avg_pool2d(chip, 3, 1) - blur).abs().mean() < (F.avg_pool2d(chip, 3, 1) - moved).abs().mean() / 3


def test_small_faces_are_not_blurred(device):
    image = torch.rand(1, 90, 90, 3, device=device)
    index = torch.zeros(1, dtype=torch.long, device=device)
    matrix = large_face(80).to(device)
    sharp = warp(image, index, matrix, 150, False)
    torch.testing.assert_close(warp(image, index, matrix, 150, True), sharp, atol=1e-5, rtol=0)


def test_half_precision_images_and_no_faces(device):
    image = smooth_image(64, 64).to(device)
    index = torch.zeros(1, dtype=torch.long, device=device)
    full = warp(image, index, large_face(60).to(device), 32, True)
    half = warp(image.half(), index, large_face(60).to(device), 32, True)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=1e-3, rtol=0)
    assert warp(image, index[:0], large_face(60).to(device)[:0], 32, True).shape == (0, 3, 32, 32)
