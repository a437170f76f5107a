"""Landmarks as text: what is written reads back exactly, what is wrong is refused in one sentence."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from likeness.core.faces.points.landmark_json import landmarks_to_json, parse_landmarks
from likeness.core.faces.points.pose import fit

FACE = [[190.3, 210.8], [322.6, 205.1], [251.9, 290.4], [205.5, 371.2], [310.7, 366.9]]
FUZZ = settings(max_examples=300, deadline=None, database=None, derandomize=True)


def refusal(text):
    with pytest.raises(ValueError) as caught:
        parse_landmarks(text)
    message = str(caught.value)
    assert type(caught.value) is ValueError and message.endswith(".") and "\n" not in message and len(message) < 300
    return message


def test_the_text_is_one_line_in_a_fixed_form():
    text = landmarks_to_json(np.arange(10.0).reshape(5, 2) + 0.25, 512, 768)
    assert text == (
        '{"size": [768, 512], "faces": [[[0.25, 1.25], [2.25, 3.25], [4.25, 5.25], [6.25, 7.25], [8.25, 9.25]]]}'
    )


@FUZZ
@given(
    stnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 4), st.just(5), st.just(2)),
        elements=st.floats(-(2.0**29), 2.0**29, width=32),
    )
)
def test_what_is_written_reads_back_exactly(landmarks):
    read, size = parse_landmarks(landmarks_to_json(landmarks, 480, 640))
    assert size == (640, 480)
    assert read.dtype == np.float64 and read.shape == landmarks.shape
    assert np.array_equal(read, landmarks)


def test_a_double_keeps_its_last_bit():
    face = np.random.default_rng(0).random((5, 2)) * 1000
    assert np.array_equal(parse_landmarks(landmarks_to_json(face, 10, 10))[0][0], face)


@pytest.mark.parametrize("value", [FACE, [FACE], {"faces": [FACE]}, {"size": [512, 400], "faces": [FACE]}])
def test_every_accepted_form_gives_the_same_face(value):
    landmarks, _ = parse_landmarks(json.dumps(value, indent=2))
    assert landmarks.shape == (1, 5, 2)
    assert np.array_equal(landmarks[0], FACE)


def test_several_faces_keep_their_order_and_whole_numbers_are_fine():
    whole = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    landmarks, _ = parse_landmarks(json.dumps([FACE, whole]))
    assert np.array_equal(landmarks, [FACE, whole])


@pytest.mark.parametrize("text", ["[]", '{"faces": []}', '{"size": [8, 8], "faces": []}'])
def test_no_face_is_an_empty_batch(text):
    assert parse_landmarks(text)[0].shape == (0, 5, 2)


def test_size_is_none_where_the_text_has_none():
    assert parse_landmarks(json.dumps(FACE))[1] is None


def test_landmarks_follow_their_size_to_another_canvas():
    face = [[0, 0], [100, 0], [50, 25], [0, 50], [100, 50]]
    landmarks, size = parse_landmarks(json.dumps({"size": [100, 50], "faces": [face]}))
    # Contained in 400x400 at four times the size, with 100 rows above and below.
    assert np.array_equal(fit(landmarks, size, (400, 400))[0], np.array(face) * 4.0 + [0, 100])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("nose", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("null", "are None"),
        ("7", "are 7.0"),
        ('"text"', "are 'text'"),
        ("{}", 'lack the key "faces"'),
        ('{"faces": [], "sise": [1, 2]}', "unknown key 'sise'"),
        ('{"faces": {}}', "are an empty object"),
        ('{"faces": [], "size": [640]}', '"size"'),
        ('{"faces": [], "size": [640, 0]}', '"size"'),
        ('{"faces": [], "size": [640, 0.5]}', '"size"'),
        ('{"faces": [], "size": [true, 480]}', '"size"'),
        ('{"faces": [], "size": [NaN, 480]}', '"size"'),
        ('{"faces": [], "size": null}', '"size"'),
        ("[[]]", "face 1 is a list of 0"),
        ("[[1, 2], [3, 4]]", "face 1 is a list of 2"),
        (json.dumps([FACE, FACE[:4]]), "face 2 is a list of 4"),
        (json.dumps([FACE, None]), "face 2 is None"),
        (json.dumps([[*FACE[:4], [1, 2, 3]]]), "face 1, point 5 is a list of 3"),
        (json.dumps([[*FACE[:4], [1, True]]]), "face 1, point 5, y is True"),
        (json.dumps([[*FACE[:4], [1, "2"]]]), "face 1, point 5, y is '2'"),
        (json.dumps([[*FACE[:4], [1, None]]]), "face 1, point 5, y is None"),
        (json.dumps([[*FACE[:4], [1, float("nan")]]]), "y is nan; expected a finite number"),
        (json.dumps([[*FACE[:4], [1, float("-inf")]]]), "y is -inf; expected a finite number"),
        ("[[[1,2],[1,2],[1,2],[1,2],[1,1e999]]]", "y is inf; expected"),
        ("[[[1,2],[1,2],[1,2],[1,2],[1," + "9" * 5000 + "]]]", "y is inf; expected"),
        ("[[[1,2],[1,2],[1,2],[1,2],[1,1e12]]]", "at most 536,870,912 away from zero"),
    ],
)
def test_what_is_wrong_is_named(text, said):
    assert said in refusal(text)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["size", "faces", "x"]), inner, max_size=3)
    ),
    max_leaves=30,
)
# Nearly right: five points, of which some hold what a coordinate should not.
scalar = st.floats() | st.booleans() | st.text(max_size=2)
nearly = st.lists(st.lists(scalar, min_size=1, max_size=3), min_size=4, max_size=6)
in_object = st.fixed_dictionaries({"faces": st.lists(nearly, max_size=2)})


def parses_or_refuses(text):
    try:
        landmarks, _ = parse_landmarks(text)
    except ValueError:
        refusal(text)
    else:
        assert landmarks.ndim == 3 and landmarks.shape[1:] == (5, 2) and np.isfinite(landmarks).all()


@FUZZ
@given(anything | nearly | st.lists(nearly, max_size=3) | in_object)
def test_any_json_parses_or_is_refused(value):
    parses_or_refuses(json.dumps(value))


@FUZZ
@given(st.text(st.sampled_from('[]{}:,"0123456789.eE-+NaInfinitysz fcru\\\ud800\u0000')) | st.text())
@example("\ufeff[]")
@example("[" * 990 + "]" * 990)
@example('{"a":' * 3000)
def test_any_text_parses_or_is_refused(text):
    parses_or_refuses(text)


def test_landmarks_without_a_number_are_not_written():
    with pytest.raises(ValueError, match="not finite"):
        landmarks_to_json(np.full((5, 2), np.nan), 8, 8)


def test_no_more_faces_than_can_be_drawn_in_time():
    face = [[30, 20], [50, 20], [40, 30], [32, 40], [48, 40]]
    assert len(parse_landmarks(json.dumps([face] * 300))[0]) == 300
    with pytest.raises(ValueError, match="^Landmarks hold 5,000 faces, and 300 are the most; expected {"):
        parse_landmarks(json.dumps([face] * 5000))
