"""Masks of faces: boxes as ever, hulls as OpenCV cuts them out, parsed regions at the place of their face."""

import cv2
import numpy as np
import pytest
import torch
from likeness.core.faces.found import Faces, HostFace
from likeness.core.faces.given import faces_of
from likeness.core.faces.regions import masks
from likeness.core.faces.regions.overlay import box_masks
from on_device import StaysOnDevice
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.fixture(scope="module")
def found(embedded, seen):
    """A photograph, its faces and their 68 landmarks."""
    image, faces = seen("t1")
    return image, faces, embedded.landmarks68(image, faces)


def cut_out(points, size):
    """OpenCV's filled convex hull of points [P, 2]."""
    hull = cv2.convexHull(points.numpy().astype(np.float32))
    canvas = np.zeros(size, dtype=np.uint8)
    cv2.fillConvexPoly(canvas, (hull * 16).round().astype(np.int32), 1, shift=4)
    return torch.from_numpy(canvas).bool()


def same_but_for_the_border(mask, reference):
    """Two bool masks [H, W] differ by no more than the pixels next to the outline."""
    kernel = np.ones((3, 3), dtype=np.uint8)
    wide, narrow = cv2.dilate(reference.byte().numpy(), kernel), cv2.erode(reference.byte().numpy(), kernel)
    return bool((mask <= torch.from_numpy(wide).bool()).all() and (torch.from_numpy(narrow).bool() <= mask).all())


def common_part(a, b):
    return float((a & b).sum() / (a | b).sum())


def test_boxes_are_as_they_always_were(found):
    _, faces, _ = found
    assert torch.equal(masks.boxes(faces), box_masks(faces))


def test_hulls_are_opencvs(found):
    _, faces, points = found
    outline = masks.with_forehead(points)
    everyone = torch.zeros(faces.image_size, dtype=torch.bool)
    for place in range(faces.total):
        one = faces.pick([[place]])
        [mask] = masks.hulls(one, points[place : place + 1])
        reference = cut_out(outline[place], faces.image_size)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert same_but_for_the_border(mask.bool(), reference) and mask.any(), place
        everyone |= mask.bool()
    [together] = masks.hulls(faces, points)
    assert torch.equal(together.bool(), everyone)


def test_hull_edges_are_opencvs():
    for seed in range(8):
        points = torch.rand(3, 78, 2, generator=torch.Generator().manual_seed(seed)) * 200 + 500
        points[1, 5:20] = points[1, :1]  # many in one place
        points[2] = points[2].round() // 20 * 20  # many on one line
        start, along = masks.hull_edges(points)
        for own, begins, way in zip(points, start, along, strict=True):
            ends = {tuple(point) for point in begins[way.norm(dim=1) > 0.5].tolist()}
            hull = cv2.convexHull(own.numpy())[:, 0]
            on_line = {tuple(point) for point in own.tolist() if abs(cv2.pointPolygonTest(hull, point, True)) < 1e-3}
            assert {tuple(point) for point in hull.tolist()} <= ends <= on_line
    nothing = masks.hull_distance(torch.full((1, 78, 2), 7.0), torch.full((1, 1, 1, 2), 7.0))
    assert nothing.item() < 0


def test_the_hull_holds_all_landmarks_and_the_forehead(found):
    _, faces, points = found
    sure = [place for place, face in enumerate(faces.on_host) if face.score > 0.99]
    for place in sure:
        [mask] = masks.hulls(faces.pick([[place]]), points[place : place + 1])
        own, box = points[place], faces.boxes[place]
        middle = own.mean(0)
        inner = (middle + 0.97 * (own - middle)).round().long()
        assert mask[inner[:, 1], inner[:, 0]].all()
        brows, chin = own[17:27].mean(0), own[8]
        above = brows + 0.45 * (brows - own[33])  # the middle of the forehead
        x, y = above.round().long().tolist()
        assert mask[y, x] == 1
        outside = chin + 0.15 * (chin - brows)
        x, y = outside.round().long().tolist()
        assert mask[y, x] == 0
        area = (box[2] - box[0]) * (box[3] - box[1])
        assert 0.6 * area < mask.sum() < 1.35 * area


def test_forehead_points_lie_a_third_above_the_brows():
    points = torch.zeros(1, 68, 2)
    points[0, 17:27] = torch.tensor([[float(x), 100.0] for x in range(10)])
    points[0, 33] = torch.tensor([4.5, 150.0])
    outline = masks.with_forehead(points)
    assert outline.shape == (1, 78, 2) and torch.equal(outline[:, :68], points)
    torch.testing.assert_close(outline[0, 68 + 4], torch.tensor([4.0, 50.0]))
    torch.testing.assert_close(outline[0, 68], torch.tensor([0.0, 70.0]))


@pytest.mark.parametrize("kind", ["boxes", "hulls"])
def test_soft_edges_are_ramps_around_the_hard_edge(found, kind):
    _, faces, points = found
    faces = faces.select("most confident", "0")
    place = int(torch.argmin((found[1].boxes - faces.boxes[0]).abs().sum(1)))
    more = () if kind == "boxes" else (points[place : place + 1],)
    hard, soft, softer = (getattr(masks, kind)(faces, *more, width) for width in (0.0, 0.1, 0.3))
    assert ((soft > 0) & (soft < 1)).any() and soft.min() == 0 and soft.max() == 1
    assert common_part(soft > 0.5, hard > 0.5) > 0.97
    width = float(faces.boxes[0, 2] - faces.boxes[0, 0])
    row = int((faces.boxes[0, 1] + faces.boxes[0, 3]) / 2)
    for mask, part in ((soft, 0.1), (softer, 0.3)):
        ramps = (mask[0, row] > 0.01) & (mask[0, row] < 0.99)
        # two edges, each as wide as asked for, or somewhat wider where the outline is slanted
        assert 2 * part * width * 0.9 < ramps.sum() < 2 * part * width * 1.4 + 2


def test_faces_beyond_the_picture_and_of_all_sizes():
    """Windows hang over the border; big and small faces of several pictures share a call."""

    def face(x, y, size):
        five = tuple(
            (x + size * a, y + size * b) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
        )
        return HostFace((x, y, x + size, y + size), five, 0.9)

    people = [[face(-30, -40, 100), face(150, 90, 12)], [], [face(120, 60, 300)]]
    faces = faces_of(people, (160, 200), torch.device("cpu"))
    circle = torch.stack([torch.cos(torch.arange(68) * 0.0924), torch.sin(torch.arange(68) * 0.0924)], 1)
    middle, size = (faces.boxes[:, None, :2] + faces.boxes[:, None, 2:]) / 2, faces.boxes[:, 2] - faces.boxes[:, 0]
    points = middle + circle * size[:, None, None] / 2
    got = masks.hulls(faces, points)
    assert got.shape == (3, 160, 200) and not got[1].any()
    outline = masks.with_forehead(points)
    expected = [cut_out(points, (160, 200)) for points in outline]
    assert same_but_for_the_border(got[0].bool(), expected[0] | expected[1])
    assert same_but_for_the_border(got[2].bool(), expected[2]) and got[2].sum() > 2000
    assert masks.hulls(faces_of([[], []], (9, 9), torch.device("cpu")), torch.zeros(0, 68, 2)).shape == (2, 9, 9)


@pytest.mark.parametrize("soft", [0.0, 0.2])
def test_a_parsed_region_comes_back_where_the_face_is(found, soft):
    """A parser that takes the red channel for skin, on a picture that is red inside the hulls alone."""
    _, faces, points = found
    sure = [place for place, face in enumerate(faces.on_host) if face.score > 0.99]
    faces, points = faces.pick([sure]), points[sure]
    truth = masks.hulls(faces, points)[0].bool()
    image = truth.float()[None, ..., None] * torch.tensor([1.0, 0.0, 0.0])

    def parse(chips, classes):
        assert chips.shape[1:] == (512, 512, 3) and classes == masks.FACE_CLASSES
        likely = torch.zeros(len(chips), len(classes), 512, 512)
        likely[:, 3] = chips[..., 0]
        return likely

    [mask] = masks.parsed(faces, points, image, parse, soft)
    assert common_part(mask > 0.5, truth) > 0.95
    assert (set(mask.unique().tolist()) == {0.0, 1.0}) == (soft == 0)


def test_the_parser_is_not_believed_about_neighbours(found):
    """A parser that sees skin everywhere: what comes out stays near the face."""
    _, faces, points = found
    one = faces.pick([[0]])
    [mask] = masks.parsed(one, points[:1], torch.ones(1, *faces.image_size, 3), lambda chips, classes: torch.full(
        (len(chips), len(classes), 512, 512), 0.1))  # fmt: skip
    [near] = masks.hulls(one, points[:1])
    assert (mask >= near).all() and mask.sum() < 2.2 * near.sum()


def test_masks_read_nothing_from_the_device():
    with FakeTensorMode(), StaysOnDevice():
        host = HostFace((10.0, 12.0, 60.0, 80.0), ((5.0, 9.0),) * 5, 0.9)
        index = torch.tensor([0, 0, 1], device="cuda")
        faces = Faces(torch.rand(3, 4, device="cuda"), torch.rand(3, 5, 2, device="cuda"),
                      torch.rand(3, device="cuda"), index, (2, 1), (120, 160), (host,) * 3)  # fmt: skip
        points = torch.rand(3, 68, 2, device="cuda")
        image = torch.rand(2, 120, 160, 3, device="cuda")

        def parse(chips, classes):
            return torch.rand(len(chips), len(classes), 512, 512, device="cuda")

        for mask in (
            masks.boxes(faces, 0.1), masks.hulls(faces, points), masks.hulls(faces, points, 0.1),
            masks.parsed(faces, points, image, parse), masks.parsed(faces, points, image, parse, 0.1),
        ):  # fmt: skip
            assert mask.device.type == "cuda" and mask.shape == (2, 120, 160)
