"""The landmark picture against OpenCV itself, byte for byte."""

import hashlib
import importlib
import math
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from likeness.core.faces.points import draw, raster
from likeness.core.faces.points.draw import draw_keypoints
from likeness.core.faces.points.raster import convex_polygon, disc, ellipse_outline

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)]
FACE = np.array([[190.3, 210.8], [322.6, 205.1], [251.9, 290.4], [205.5, 371.2], [310.7, 366.9]])


def reference(faces, height, width):
    """InstantID's recipe with cv2, for several faces: limbs of all, darkened, then the dots of all."""
    out = np.zeros([height, width, 3])
    for kps in faces:
        for a, b in ((0, 2), (1, 2), (3, 2), (4, 2)):
            x, y = kps[[a, b], 0], kps[[a, b], 1]
            length = ((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2) ** 0.5
            angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
            center = (int(np.mean(x)), int(np.mean(y)))
            polygon = cv2.ellipse2Poly(center, (int(length / 2), 4), int(angle), 0, 360, 1)
            out = cv2.fillConvexPoly(out.copy(), polygon, COLOURS[a])
    out = (out * 0.6).astype(np.uint8)
    for kps in faces:
        for (x, y), colour in zip(kps, COLOURS, strict=True):
            out = cv2.circle(out.copy(), (int(x), int(y)), 10, colour, -1)
    return out


def assert_same(landmarks, height, width):
    drawn = draw_keypoints(landmarks, height, width)
    assert drawn.dtype == np.uint8 and drawn.shape == (height, width, 3)
    expected = reference(landmarks[None] if landmarks.ndim == 2 else landmarks, height, width)
    wrong = np.argwhere((drawn != expected).any(axis=-1))
    assert len(wrong) == 0, f"{len(wrong)} pixels differ, the first at {wrong[0]}: {landmarks.tolist()}"


def covered(flat, height, width):
    mask = np.zeros(height * width, np.uint8)
    mask[flat] = 255
    return mask.reshape(height, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [0.05, 1.0, 4.0, 300.0])
def test_random_landmarks_equal_opencv(dtype, spread):
    rng = np.random.default_rng(int(spread * 100))
    for _ in range(80):
        height, width = rng.integers(1, 400, 2)
        size = np.array([width, height])
        landmarks = ((rng.random((5, 2)) - 0.5) * spread + 0.5) * size
        assert_same(landmarks.astype(dtype), int(height), int(width))


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 300), (300, 1), (2, 3), (21, 21), (20, 22), (2048, 2048), (64, 2048), (1016, 1016), (1152, 896)],
)
def test_canvas_sizes_equal_opencv(height, width):
    rng = np.random.default_rng(height * 7 + width)
    for spread in (0.5, 1.0, 2.5):
        assert_same(((rng.random((5, 2)) - 0.5) * spread + 0.5) * [width, height], height, width)


coordinate = st.floats(-40, 300, width=32) | st.integers(-40, 300).map(float) | st.sampled_from([0.0, 64.0, -1.0])


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    points=st.lists(st.tuples(coordinate, coordinate), min_size=5, max_size=5),
    height=st.integers(1, 128),
    width=st.integers(1, 128),
)
def test_any_landmarks_equal_opencv(points, height, width):
    assert_same(np.array(points), height, width)


AWKWARD = {
    "all points in one": np.full((5, 2), 77.7),
    "eye on nose": np.concatenate([FACE[[2]], FACE[1:]]),
    "on a row": np.stack([FACE[:, 0], np.full(5, 100.0)], axis=1),
    "on a column": np.stack([np.full(5, 100.0), FACE[:, 1]], axis=1),
    "wholly left": FACE - [900, 0],
    "wholly above": FACE - [0, 900],
    "wholly right and below": FACE + [900, 900],
    "astride a corner": FACE - FACE[2],
    "upside down": FACE.mean(0) * 2 - FACE,
    "on the border": np.array([[0, 0], [511, 0], [255.5, 255.5], [0, 511], [511, 511.0]]),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_faces_equal_opencv(name):
    assert_same(AWKWARD[name], 512, 512)


@pytest.mark.parametrize("exponent", [16, 20, 24, 26])
def test_huge_coordinates_equal_opencv(exponent):
    rng = np.random.default_rng(exponent)
    for _ in range(10):
        far = rng.uniform(-1, 1, (5, 2)) * 2.0**exponent
        # OpenCV walks down every row above the frame, one by one: keep the reference's own time short.
        far[:, 1] = np.maximum(far[:, 1], -(2.0**20))
        far[2] = rng.uniform(0, 200, 2)
        assert_same(far, 160, 240)


def test_farthest_coordinates_equal_opencv():
    assert_same(np.array([[2.0**29, 80], [-(2.0**29), 90], [60, 70], [50, 2.0**29], [2.0**29, 2.0**29]]), 160, 240)


def test_single_precision_is_measured_in_single_precision():
    # In double the first limb's middle is at 119.999999, cut to 119; in single it is at 120.
    face = np.array([[100, 100], [180, 110], [140 - 2e-6, 200], [110, 250], [170, 250]])
    single, double = draw_keypoints(face.astype(np.float32), 300, 300), draw_keypoints(face, 300, 300)
    assert (single != double).any()
    assert_same(face.astype(np.float32), 300, 300)
    assert_same(face, 300, 300)


def test_several_faces_draw_every_dot_over_every_limb():
    faces = np.stack([FACE, FACE + [60, 35], FACE * 0.5])
    assert_same(faces, 512, 512)
    x, y = nose = FACE[2].astype(int)
    crossing = np.concatenate([nose + [[-80, 0], [80, 200]], nose + [[80, 0]], FACE[3:] + [0, 120]])
    alone, both = draw_keypoints(crossing, 512, 512), draw_keypoints(np.stack([FACE, crossing]), 512, 512)
    assert tuple(alone[y, x]) == (153, 0, 0)
    assert tuple(both[y, x]) == COLOURS[2]


def test_one_face_alone_or_in_a_batch_is_the_same_picture_and_none_is_black():
    assert np.array_equal(draw_keypoints(FACE, 400, 500), draw_keypoints(FACE[None], 400, 500))
    assert not draw_keypoints(np.empty((0, 5, 2)), 40, 50).any()


def test_known_picture_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # any import of it fails now
    importlib.reload(raster)
    picture = importlib.reload(draw).draw_keypoints(FACE, 512, 512)
    assert hashlib.sha256(picture.tobytes()).hexdigest() == DIGEST


def test_input_is_left_alone():
    landmarks = FACE.copy()
    draw_keypoints(landmarks, 512, 512)
    assert np.array_equal(landmarks, FACE)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**29 + 1, -1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coordinates_without_a_pixel_are_refused(bad, dtype):
    face = FACE.astype(dtype)
    face[3, 1] = np.nextafter(dtype(bad), dtype(np.inf)) if bad == 2.0**29 + 1 else bad
    with pytest.raises(ValueError, match="not finite or lies beyond"):
        draw_keypoints(face, 64, 64)


@pytest.mark.parametrize("shape", [(5,), (5, 3), (4, 2), (2, 4, 2), (1, 1, 5, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[5, 2\]"):
        draw_keypoints(np.zeros(shape), 64, 64)


def test_every_angle_of_the_outline_equals_opencv():
    for angle in range(-180, 181):
        for axes in ((0, 4), (1, 4), (37, 4), (4, 400)):
            center = (angle * 3, -angle)
            expected = cv2.ellipse2Poly(center, axes, angle, 0, 360, 1)
            assert np.array_equal(ellipse_outline(center, axes, angle), expected)


def test_an_ellipse_of_one_pixel_is_its_centre_twice():
    assert np.array_equal(ellipse_outline((3, -4), (0, 0), 30), cv2.ellipse2Poly((3, -4), (0, 0), 30, 0, 360, 1))


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    vertices=st.lists(st.tuples(st.integers(-60, 100), st.integers(-60, 100)), min_size=1, max_size=3),
    height=st.integers(1, 64),
    width=st.integers(1, 64),
)
def test_points_lines_and_triangles_equal_opencv(vertices, height, width):
    points = np.array(vertices, dtype=np.int64)
    expected = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), points.astype(np.int32), 255)
    assert np.array_equal(covered(convex_polygon(points, height, width), height, width), expected)


@pytest.mark.parametrize("shift", [-1, 0, 40])
def test_a_tall_polygon_beside_the_frame_equals_opencv(shift):
    # Rounded slopes carry the right side 39 pixels too far over five million rows, which must not bring a polygon
    # into a frame that it does not touch.
    points = np.array([[-40, -5111700], [-1, 108], [-45, 0]], dtype=np.int64) + [shift, 0]
    expected = cv2.fillConvexPoly(np.zeros((100, 64), np.uint8), points.astype(np.int32), 255)
    assert np.array_equal(covered(convex_polygon(points, 100, 64), 100, 64), expected)


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 9, 10, 11, 24, 63])
def test_discs_of_any_radius_equal_opencv(radius):
    for center in ((40, 30), (0, 0), (-5, 31), (66, 61), (30, -radius), (30, -radius - 1), (-200, 20)):
        expected = cv2.circle(np.zeros((60, 65), np.uint8), center, radius, 255, -1)
        assert np.array_equal(covered(disc(center, radius, 60, 65), 60, 65), expected), (center, radius)


def test_a_1024_picture_takes_under_30_ms():
    times = []
    for _ in range(7):
        start = time.perf_counter()
        draw_keypoints(FACE * 2, 1024, 1024)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.030


# SHA-256 of FACE on 512x512, drawn by opencv-python-headless 4.11.0 with the recipe above.
DIGEST = "46a4d159ccbf7a6142682c41ed4727dc6cb0bb73354fd4685e93cda3c962fac1"
