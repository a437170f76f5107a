"""PuLID's picture of a head: facexlib's crop by OpenCV, and the published greys behind it."""

import cv2
import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.crops import CROPS
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.regions.backdrop import BACKDROPS
from on_device import StaysOnDevice
from torch._subclasses.fake_tensor import FakeTensorMode

TEMPLATE = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
            (313.08905, 371.15118))  # fmt: skip


def faces_of(landmarks, image):
    count = len(landmarks)
    nothing = torch.zeros(count)
    host = (HostFace((0.0,) * 4, ((0.0, 0.0),) * 5, 0.9),) * count
    index = torch.zeros(count, dtype=torch.long, device=landmarks.device)
    return Faces(nothing[:, None].expand(-1, 4), landmarks, nothing, index, (count,), tuple(image.shape[1:3]), host)


def by_opencv(image, landmarks, size=512):
    """facexlib's chip of a BGR photograph, in RGB: cv2's least median of squares, and grey beyond the edges."""
    bgr = np.ascontiguousarray((image[0].numpy() * 255).round().astype(np.uint8)[..., ::-1])
    target = np.float32(TEMPLATE) * (size / 512)
    matrix, _ = cv2.estimateAffinePartial2D(landmarks.numpy(), target, method=cv2.LMEDS)
    chip = cv2.warpAffine(bgr, matrix, (size, size), borderMode=cv2.BORDER_CONSTANT, borderValue=(135, 133, 132))
    return torch.from_numpy(chip[..., ::-1].copy()).permute(2, 0, 1) / 255


@pytest.mark.parametrize("size", [512, 224])
@pytest.mark.parametrize(
    ("turn", "scale", "shift"), [(0.0, 1.0, (30, -20)), (0.4, 0.5, (-60, 10)), (-0.2, 1.7, (0, 0))]
)
def test_the_chip_is_facexlibs(size, turn, scale, shift):
    """Landmarks that fit the template exactly, near the edges of the photograph."""
    image = photographs.as_image(photographs.picture("t1"))[:, :700, :900]
    rotation = torch.tensor([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], dtype=torch.float32)
    landmarks = scale * (torch.tensor(TEMPLATE) @ rotation) + torch.tensor(shift, dtype=torch.float32)
    ours = CROPS["head"](size).chips(image, faces_of(landmarks[None], image), None)[0]
    off = (ours - by_opencv(image, landmarks, size)).abs()
    assert off.mean() < 0.003 and off.quantile(0.999) < 0.06  # cv2 counts pixels in 32nds


def test_beyond_the_photograph_is_facexlibs_grey():
    image = torch.ones(1, 64, 64, 3)
    chip = CROPS["head"](512).chips(image, faces_of(torch.tensor(TEMPLATE)[None] + 5000, image), None)[0]
    torch.testing.assert_close(chip[:, 0, 0] * 255, torch.tensor([132.0, 133.0, 135.0]))


def test_a_large_photograph_is_shrunk_first():
    """The same head from a photograph of three times the size, without fine detail folding into the chip."""
    image = photographs.as_image(photographs.picture("t1"))[:, :700, :900]
    large = torch.nn.functional.interpolate(image.movedim(-1, 1), scale_factor=3, mode="bicubic").clamp(0, 1)
    large = large.movedim(1, -1) + 0.25 * (torch.arange(2700) % 2 * 2 - 1)[:, None]  # stripes of a pixel
    landmarks = torch.tensor(TEMPLATE)[None] + torch.tensor([60.0, 40.0])
    chips = [CROPS["head"](512).chips(one, faces_of(points, one), None)
             for one, points in ((image, landmarks), (large, (landmarks + 0.5) * 3 - 0.5))]  # fmt: skip
    assert (chips[0] - chips[1]).abs().mean() < 0.01


def test_backdrops_pixel_by_pixel():
    crops = torch.rand(2, 3, 6, 7)
    labels = torch.arange(2 * 6 * 7).view(2, 6, 7) % 19
    made = {name: change(crops, labels) for name, change in BACKDROPS.items()}
    for n, y, x in np.ndindex(2, 6, 7):
        label, rgb = int(labels[n, y, x]), crops[n, :, y, x]
        grey = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
        expected = torch.ones(3) if label in (0, 16, 18, 7, 8, 9, 14, 15) else grey.repeat(3)
        torch.testing.assert_close(made["grey"][n, :, y, x], expected)
        expected = torch.zeros(3) if label in (0, 14, 15, 16, 18) else rgb
        torch.testing.assert_close(made["face only"][n, :, y, x], expected)


def test_nothing_is_read_on_the_way():
    with FakeTensorMode(), StaysOnDevice():
        image = torch.rand(1, 2000, 1500, 3, device="cuda")
        chips = CROPS["head"](512).chips(image, faces_of(torch.rand(2, 5, 2, device="cuda"), image), None)
        for change in BACKDROPS.values():
            made = change(chips, torch.zeros(2, 512, 512, dtype=torch.long, device="cuda"))
            assert made.device.type == "cuda" and made.shape == (2, 3, 512, 512)
