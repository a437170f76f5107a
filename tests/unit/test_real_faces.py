"""The embedded encoder on real photographs: every face found, false finds known, the same person told from others."""

import photographs
import pytest
from pairs import area_under_curve


def test_every_visible_face_is_found_and_nothing_else(embedded, seen):
    for name, there in photographs.people().items():
        image, faces = seen(name)
        for face in there["faces"]:
            assert max(photographs.overlap(face["box"], other.box) for other in faces.on_host) > 0.8
        others = [face for face in faces.on_host
                  if all(photographs.overlap(face.box, known["box"]) < 0.5 for known in there["faces"])]  # fmt: skip
        assert not others
        if not there["false"]:
            continue
        bare = embedded.detector.detector(image)  # what MTCNN by itself takes for faces
        scores, boxes = bare.scores[bare.valid], bare.boxes[bare.valid].tolist()
        for known in there["false"]:
            place = max(range(len(boxes)), key=lambda place: photographs.overlap(boxes[place], known["box"]))
            assert photographs.overlap(boxes[place], known["box"]) > 0.8
            assert float(scores[place]) == pytest.approx(known["confidence"], abs=0.01)


def test_landmarks_lie_in_their_order(labelled):
    """Left of right, eyes over mouth, on every photograph that is not turned; profiles excepted."""
    for name, alteration, person, (_, faces), place in labelled:
        if alteration == "as it is" and (name, person) != ("sample2", "J"):
            left_eye, right_eye, nose, left_mouth, right_mouth = faces.on_host[place].landmarks
            assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
            assert max(left_eye[1], right_eye[1]) < nose[1] + 5 < max(left_mouth[1], right_mouth[1]) + 5


def test_altered_photographs_keep_their_faces(labelled):
    found = [alteration for _, alteration, _, _, _ in labelled]
    assert found.count("as it is") == 28
    assert found.count("mirrored, small") >= 26 and found.count("turned, dark") >= 26


def test_people_are_told_apart(labelled, vectors):
    labels = [entry[:3] for entry in labelled]
    same, different = photographs.cosines(vectors, photographs.pairs(labels))
    assert len(same) >= 80 and len(different) >= 400
    assert area_under_curve(same, different) > 0.995
    assert same.mean() - different.mean() > 0.11


def test_one_person_on_two_photographs_is_closer_than_any_two_people(labelled, vectors):
    """The only person recognised on two photographs for certain, against two people of one photograph."""
    labels = [entry[:3] for entry in labelled]
    pairs = photographs.pairs(labels)
    across = [(i, j, True) for i, j, same in pairs if same and labels[i][0] != labels[j][0]]
    within = [(i, j, False) for i, j, same in pairs if not same and labels[i][0] == labels[j][0]]
    same, different = photographs.cosines(vectors, across + within)
    assert len(same) >= 4 and len(different) >= 40
    assert same.min() > different.max()
