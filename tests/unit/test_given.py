"""Faces that ComfyUI's own nodes hand over: FACE_LANDMARKS as MediaPipe gives them, BOUNDING_BOX in all its forms."""

import json

import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.given import boxes_of, faces_of, mesh_faces

SIZE = (886, 1280)  # of the photograph t1
BOX = {"x": 10, "y": 20.5, "width": 30, "height": 40, "label": "face", "score": 0.9}


@pytest.fixture(scope="module")
def meshes():
    """Person of t1 -> what MediaPipe 0.10.14 found in a cut-out around the face, irises too, in t1's pixels."""
    data = json.loads((photographs.ROOT / "tests/data/face_mesh.json").read_text())
    return {person: np.array(points, dtype=np.float32) for person, points in data.items()}


def mesh(points, score=0.8):
    low, high = points.min(0), points.max(0)
    return {"landmarks_xy": points, "bbox_xyxy": np.concatenate([low, high]), "score": score, "blendshapes": {}}


def given(*frames, size=SIZE):
    return {"frames": [list(frame) for frame in frames], "image_size": size, "connection_sets": {}}


@pytest.mark.parametrize("points", [478, 468])
def test_five_points_of_a_mesh_are_those_of_the_detector(embedded, seen, meshes, points):
    image, detected = seen("t1")
    [found] = mesh_faces(given([mesh(meshes[person][:points]) for person in "AC"]), 1, SIZE)
    faces = faces_of([found], SIZE, torch.device("cpu"))
    assert faces.counts == (2,) and [face.score for face in found] == [0.8, 0.8]
    for at, person in enumerate("AC"):
        known = {face["person"]: face["box"] for face in photographs.people()["t1"]["faces"]}[person]
        assert photographs.overlap(found[at].box, known) > 0.6
        [place] = [i for i, face in enumerate(detected.on_host) if photographs.overlap(face.box, known) > 0.5]
        apart = (faces.landmarks[at] - detected.landmarks[place]).norm(dim=1)
        assert (apart < 0.12 * (known[2] - known[0])).all()  # the two find other points of the nose
        vectors = embedded.embed(image, faces)[at], embedded.embed(image, detected)[place]
        assert torch.cosine_similarity(*vectors, dim=0) > 0.95


def test_lists_arrays_and_tensors_are_read_alike(meshes):
    [[plain]] = mesh_faces(given([mesh(meshes["A"])]), 1, SIZE)
    for points in (meshes["A"].tolist(), torch.from_numpy(meshes["A"])):
        [[other]] = mesh_faces({"frames": [[{"landmarks_xy": points, "score": 0.8}]]}, 1, SIZE)
        assert other == plain


def test_pictures_without_a_face(meshes):
    found = mesh_faces(given([], [mesh(meshes["A"])], []), 3, SIZE)
    assert [len(faces) for faces in found] == [0, 1, 0]
    faces = faces_of(found, SIZE, torch.device("cpu"))
    assert faces.counts == (0, 1, 0) and faces.image_index.tolist() == [1]
    nobody = faces_of([[], []], SIZE, torch.device("cpu"))
    assert nobody.boxes.shape == (0, 4) and nobody.landmarks.shape == (0, 5, 2) and nobody.counts == (0, 0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "list of faces for each picture under frames, but are None"),
        ([], "but are a list of 0"),
        ({"faces": 1}, "but are an object with the keys ['faces']"),
        ({"frames": "x"}, "but are an object with the keys ['frames']"),
        ({"frames": [{}]}, "list of faces for each picture"),
        ({"frames": [[1]]}, "468 or 478 points (x, y) in pixels under landmarks_xy, but one of picture 1 is 1"),
        ({"frames": [[{"bbox_xyxy": 1}]]}, "is an object with the keys ['bbox_xyxy']"),
        ({"frames": [[{"landmarks_xy": np.zeros((68, 2))}]]}, "468 or 478 points"),
        ({"frames": [[{"landmarks_xy": np.zeros((478, 3))}]]}, "468 or 478 points"),
        ({"frames": [[{"landmarks_xy": np.full((478, 2), np.nan)}]]}, "468 or 478 points"),
        ({"frames": [[{"landmarks_xy": "x" * 478}]]}, "468 or 478 points"),
        ({"frames": [[], []]}, "belong to 2 pictures, but image has 1"),
        ({"frames": [[]], "image_size": (100, 50)}, "pictures of 50x100 pixels, but image has 1280x886"),
        ({"frames": [[]], "image_size": 7}, "pictures of 7 pixels"),
    ],
)
def test_bad_landmarks_are_one_sentence(value, words):
    with pytest.raises(ValueError) as caught:
        mesh_faces(value, 1, SIZE)
    text = str(caught.value)
    assert (
        words in text and text.startswith(("The face_landmarks", "Each face in face_landmarks")) and text.endswith(".")
    )
    assert "; connect" in text


def test_boxes_in_every_form():
    read = (10.0, 20.5, 40.0, 60.5)
    assert boxes_of(BOX, 3) == [[read]] * 3
    assert boxes_of([BOX, BOX], 2) == [[read, read]] * 2
    assert boxes_of([[BOX], [], [BOX, BOX]], 3) == [[read], [], [read, read]]
    assert boxes_of([], 2) == [[], []] and boxes_of([[]], 2) == [[], []] and boxes_of([[BOX]], 2) == [[read]] * 2
    assert boxes_of([{name: np.float32(value) for name, value in list(BOX.items())[:4]}], 1) == [[read]]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "hold None"),
        ("10,20,30,40", "hold '10,20,30,40'"),
        ([(1, 2, 3, 4)], "hold 1"),
        ([[BOX, 5]], "hold 5"),
        ({"x": 1, "y": 2}, "hold an object with the keys ['x', 'y']"),
        ({**BOX, "width": 0}, "width and height over 0"),
        ({**BOX, "x": float("nan")}, "hold an object with the keys ['height', 'label', 'score', 'width', 'x', 'y']"),
        ({**BOX, "y": "1"}, "hold an object with the keys"),
        (torch.zeros(2, 4), "hold an array of shape [2, 4]"),
        ([[BOX], [BOX]], "belong to 2 pictures, but image has 3"),
    ],
)
def test_bad_boxes_are_one_sentence(value, words):
    with pytest.raises(ValueError) as caught:
        boxes_of(value, 3)
    text = str(caught.value)
    assert words in text and text.startswith("The bounding_boxes") and text.endswith(".") and "connect" in text
