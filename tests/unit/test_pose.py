"""Placing a face on a canvas: what each control does, and that none of them does anything at its default."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from likeness.core.faces.points.pose import as_faces, fit, place

RNG = np.random.default_rng(3)
FACES = RNG.random((3, 5, 2)) * 900
FUZZ = settings(max_examples=150, deadline=None, database=None, derandomize=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_asked_changes_no_bit(dtype):
    faces = FACES.astype(dtype)
    placed = place(faces, (893, 1021), (893, 1021))
    assert placed.dtype == dtype
    assert np.array_equal(placed, faces)
    assert np.array_equal(place(faces, (893, 1021), (893, 1021), rotate=360.0), faces)


def test_one_face_becomes_a_batch_and_none_stays_none():
    assert np.array_equal(place(FACES[0], (64, 64), (64, 64)), FACES[:1])
    assert place(np.empty((0, 5, 2)), (64, 64), (32, 96), 0.1, 0.2, 2.0, 30.0).shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("from_size", "to_size", "corner", "opposite"),
    [
        ((100, 50), (200, 100), (0, 0), (200, 100)),
        ((100, 50), (200, 200), (0, 50), (200, 150)),
        ((50, 100), (200, 200), (50, 0), (150, 200)),
        ((400, 200), (100, 100), (0, 25), (100, 75)),
    ],
)
def test_the_frame_is_contained_and_centred(from_size, to_size, corner, opposite):
    points = np.array([(0, 0), from_size, (0, from_size[1]), (from_size[0], 0), (from_size[0] / 2, from_size[1] / 2)])
    placed = place(points, from_size, to_size)[0]
    assert np.array_equal(placed[0], corner)
    assert np.array_equal(placed[1], opposite)
    assert np.array_equal(placed[4], np.array(to_size) / 2)


def test_fitting_there_and_back_is_where_it_was():
    # Back from a larger frame of another shape the margin is not the photograph's: only equal shapes come back.
    there = fit(FACES, (640, 480), (1024, 768))
    np.testing.assert_allclose(fit(there, (1024, 768), (640, 480)), FACES, atol=1e-9)


def test_turning_is_clockwise_as_seen():
    # A point to the right of the centre comes to lie below it.
    face = np.array([[[10, 0], [-10, 0], [0, 0], [0, 10], [0, -10.0]]]) + 50
    placed = place(face, (100, 100), (100, 100), rotate=90.0)
    np.testing.assert_allclose(placed - 50, [[[0, 10], [0, -10], [0, 0], [-10, 0], [10, 0]]], atol=1e-12)


def test_offsets_are_fractions_of_the_canvas():
    placed = place(FACES, (300, 200), (300, 200), offset_x=0.25, offset_y=-0.5)
    np.testing.assert_allclose(placed, FACES + [75, -100], rtol=0, atol=1e-9)


def test_several_faces_turn_about_one_centre():
    placed = place(FACES, (900, 900), (900, 900), scale=0.5, rotate=180.0)
    center = FACES.mean(axis=(0, 1))
    np.testing.assert_allclose(placed, center - (FACES - center) / 2, atol=1e-9)


def test_the_offset_comes_last():
    turned = place(FACES, (640, 480), (512, 768), scale=1.7, rotate=33.0)
    moved = place(FACES, (640, 480), (512, 768), 0.1, 0.2, 1.7, 33.0)
    np.testing.assert_allclose(moved - turned, np.broadcast_to([51.2, 153.6], FACES.shape), atol=1e-9)


@FUZZ
@given(scale=st.floats(0.1, 8), rotate=st.floats(-720, 720), x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_every_placement_is_a_similarity_that_can_be_undone(scale, rotate, x, y):
    size = (640, 480)
    placed = place(FACES, size, size, x, y, scale, rotate)
    flat, was = placed.reshape(-1, 2), FACES.reshape(-1, 2)
    between = np.linalg.norm(flat[:, None] - flat, axis=-1)
    np.testing.assert_allclose(between, scale * np.linalg.norm(was[:, None] - was, axis=-1), atol=1e-8)
    np.testing.assert_allclose(flat.mean(0), was.mean(0) + [x * size[0], y * size[1]], atol=1e-8)
    np.testing.assert_allclose(place(placed, size, size, -x, -y, 1 / scale, -rotate), FACES, atol=1e-8)


def test_input_is_left_alone():
    faces = FACES.copy()
    place(faces, (640, 480), (512, 512), 0.1, 0.1, 2.0, 45.0)
    assert np.array_equal(faces, FACES)


def test_whole_numbers_and_lists_are_landmarks_too():
    faces = as_faces([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
    assert faces.dtype == np.float64 and faces.shape == (1, 5, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0**30])
def test_coordinates_without_a_place_are_refused(bad):
    faces = FACES.copy()
    faces[1, 2, 0] = bad
    with pytest.raises(ValueError, match="not finite"):
        place(faces, (64, 64), (64, 64))
