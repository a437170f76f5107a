"""MTCNN against facenet-pytorch, and its sync-free parts against their plain counterparts."""

import numpy as np
import photographs
import pytest
import torch
from facenet_pytorch import MTCNN as Reference
from likeness.core.faces.align.area import crop, integral_image, resize
from likeness.core.faces.detect.mtcnn import FACES, MTCNN
from likeness.core.faces.detect.nms import overlap, suppress
from likeness.core.places import EMBEDDED
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F


@pytest.fixture(scope="module")
def detector(device):
    module = MTCNN(device=device)
    module.load_state_dict(load_file(EMBEDDED / "mtcnn.safetensors"))
    return module


@pytest.fixture(scope="module")
def reference():
    return Reference(keep_all=True, select_largest=False)


def greedy(boxes, valid, threshold, mode):
    """Non-maximum suppression as everybody writes it."""
    overlaps = overlap(boxes[None], mode)[0]
    keep = []
    for i in range(len(boxes)):
        if valid[i] and all(overlaps[j, i] <= threshold for j in keep):
            keep.append(i)
    return keep


@pytest.mark.parametrize("mode", ["union", "min"])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression_is_greedy(device, mode, threshold):
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        # a dense heap: 300 windows of 20 to 40 pixels within 100 pixels
        corner = torch.rand(300, 2, generator=generator) * 100
        boxes = torch.cat([corner, corner + 20 + torch.rand(300, 2, generator=generator) * 20], 1)
        valid = torch.rand(300, generator=generator) > 0.2
        kept = suppress(boxes[None].to(device), valid[None].to(device), threshold, mode)[0]
        assert kept.nonzero().flatten().tolist() == greedy(boxes, valid, threshold, mode)


def test_long_chains_leave_duplicates_and_lose_nothing(device):
    """A staircase of boxes, each removing the next: the longest chain there is."""
    step = torch.arange(60.0)
    boxes = torch.stack([step * 3, step * 0, step * 3 + 10, step * 0 + 10], 1)
    valid = torch.ones(60, dtype=torch.bool)
    right = greedy(boxes, valid, 0.5, "union")
    assert right == list(range(0, 60, 2))
    kept = suppress(boxes[None].to(device), valid[None].to(device), 0.5)[0].nonzero().flatten().tolist()
    assert set(right) < set(kept)
    exact = suppress(boxes[None].to(device), valid[None].to(device), 0.5, rounds=60)[0]
    assert exact.nonzero().flatten().tolist() == right


def test_area_resampling_is_torchs(device):
    pixels = torch.randint(0, 256, (2, 91, 67, 3), generator=torch.Generator().manual_seed(0))
    image = pixels.permute(0, 3, 1, 2).float()
    sums = integral_image(pixels.to(device, torch.int32))
    for height, width in ((40, 31), (91, 67), (12, 12), (100, 80)):
        expected = F.interpolate(image, (height, width), mode="area")
        torch.testing.assert_close(resize(sums, height, width).cpu(), expected, atol=1e-4, rtol=0)
    corner = torch.tensor([[[0, 0], [3, 50], [60, 84]], [[10, 20], [66, 90], [1, 2]]])
    extent = torch.tensor([[[67, 91], [30, 5], [7, 7]], [[24, 24], [1, 1], [50, 13]]])
    crops = crop(sums, corner.to(device), extent.to(device), 24).cpu()
    for b in range(2):
        for n in range(3):
            (x, y), (w, h) = corner[b, n].tolist(), extent[b, n].tolist()
            expected = F.interpolate(image[b : b + 1, :, y : y + h, x : x + w], (24, 24), mode="area")[0]
            torch.testing.assert_close(crops[b, n], expected, atol=1e-4, rtol=0)


def found(candidates, image=0):
    columns = candidates.boxes, candidates.landmarks, candidates.scores
    return tuple(column[image][candidates.valid[image]].cpu() for column in columns)


@pytest.mark.parametrize("name", ["t1", "sample2", "sample5"])
def test_same_faces_as_facenet_pytorch(detector, reference, device, name):
    picture = photographs.picture(name)
    if name != "t1":
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    boxes, scores, landmarks = reference.detect(np.array(picture), landmarks=True)
    ours = found(detector(photographs.as_image(picture).to(device)))
    assert len(ours[0]) == len(boxes)
    assert np.abs(ours[0].numpy() - boxes.astype(np.float32)).max() < 1
    assert np.abs(ours[1].numpy() - landmarks.astype(np.float32)).max() < 0.5
    assert np.abs(ours[2].numpy() - scores.astype(np.float32)).max() < 1e-3


def test_a_batch_is_its_images(detector, device):
    photograph = photographs.as_image(photographs.picture("t1").resize((512, 354)))
    batch = torch.cat([photograph, photograph.flip(2), torch.zeros_like(photograph)]).to(device)
    together = detector(batch)
    places = together.valid.shape[1]  # on the CPU no more than are filled
    assert together.boxes.shape == (3, places, 4) and together.landmarks.shape == (3, places, 5, 2)
    assert places == FACES or device.type == "cpu"
    for i in range(3):
        alone = detector(batch[i : i + 1])
        for a, b in zip(found(together, i), found(alone), strict=True):
            torch.testing.assert_close(a, b, atol=1e-2, rtol=0)
    assert together.valid.sum(1).tolist()[0] >= 6 and together.valid[2].sum() == 0


def test_half_precision_images_are_the_same_pixels(detector, device):
    image = photographs.as_image(photographs.picture("t1").resize((512, 354))).to(device)
    for a, b in zip(found(detector(image)), found(detector(image.half())), strict=True):
        assert torch.equal(a, b)


def test_a_crowd_of_a_hundred_survives_the_caps(detector, device):
    cuts = []
    for name in ("t1", "sample3", "sample5"):
        for face in photographs.people()[name]["faces"][:4]:
            left, top, right, bottom = face["box"]
            x, y, half = (left + right) / 2, (top + bottom) / 2, 0.85 * max(right - left, bottom - top)
            cuts.append(photographs.picture(name).crop((int(x - half), int(y - half), int(x + half), int(y + half))))
    crowd = Image.new("RGB", (1000, 1000))
    for place in range(100):
        crowd.paste(cuts[place % len(cuts)].resize((100, 100)), (place % 10 * 100, place // 10 * 100))
    boxes = found(detector(photographs.as_image(crowd).to(device)))[0]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = {(int(x) // 100, int(y) // 100) for x, y in centre.tolist()}
    assert len(cells) == 100


@pytest.mark.parametrize("size", [(1, 1), (19, 300), (20, 20), (33, 21)])
def test_tiny_images_have_no_faces(detector, device, size):
    candidates = detector(torch.rand(2, *size, 3, device=device))
    assert candidates.boxes.shape[0] == 2 and candidates.boxes.shape[2:] == (4,)
    assert not candidates.valid.any()
