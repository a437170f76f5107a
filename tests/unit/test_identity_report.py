"""The text on the photographs behind an identity."""

import pytest
from likeness.core.faces.identity.identity_report import Reference, identity_report, in_words

GOOD = {"score": 0.99, "size": 1.0, "sharpness": 0.95, "light": 1.0, "frontality": 0.9}
SPACE = "dlib-resnet34-128"


def reference(photograph, used=True, stranger=False, agreement=0.96, **parts):
    return Reference(photograph, agreement, {**GOOD, **parts}, 0.5, used, stranger)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "good"),
        ({"size": 0.3}, "small"),
        ({"size": 0.3, "sharpness": 0.4}, "small and blurred"),
        ({"score": 0.72, "light": 0.1, "frontality": 0.5}, "uncertain, dark or flat and turned away"),
    ],
)
def test_plain_words(parts, words):
    assert in_words({**GOOD, **parts}) == words


def test_each_face_has_a_line():
    references = [reference(0), reference(2, size=0.25), reference(2, used=False)]
    first, *lines = identity_report(references, 4, SPACE, "first", "first").splitlines()
    assert first == f"Identity from 2 of 3 faces in 4 photographs, encoder {SPACE}. Agreement among the faces: 0.96."
    assert lines == [
        "Photograph 1: face found with confidence 0.99, agrees with the others 0.96, quality 0.50, good (size 1.00, "
        "sharpness 0.95, light 1.00, frontality 0.90).",
        "Photograph 3, face 0: face found with confidence 0.99, agrees with the others 0.96, quality 0.50, small (size "
        "0.25, sharpness 0.95, light 1.00, frontality 0.90).",
        "Photograph 3, face 1: face found with confidence 0.99, agrees with the others 0.96, quality 0.50, good (size "
        "1.00, sharpness 0.95, light 1.00, frontality 0.90), not used.",
    ]


def test_who_does_not_belong_is_named_whatever_the_way():
    def last(made, used):
        references = [reference(0), reference(1), reference(2, used=used, stranger=True)]
        return identity_report(references, 3, SPACE, made, made).splitlines()[-1]

    assert last("robust", False).endswith(", left out: looks like somebody else.")
    for made in ("mean", "quality", "centralised"):
        assert last(made, True).endswith("; looks like somebody else: take it out, or set combine to robust.")


def test_two_photographs_of_two_people_are_doubted_where_the_encoder_is_known():
    def head(agreement, space):
        return identity_report([reference(0, agreement=agreement)] * 2, 2, space, "mean", "mean").splitlines()[0]

    assert head(0.85, SPACE).endswith("The two look like two people.")
    assert "two people" not in head(0.95, SPACE) and "two people" not in head(0.1, "an encoder unknown here")


def test_a_set_too_small_to_centralise_is_said():
    head = identity_report([reference(0)], 1, SPACE, "centralised", "mean").splitlines()[0]
    assert head.endswith("Centralising needs 6 faces, so this is the plain mean.")
    assert "plain mean" not in identity_report([reference(0)] * 6, 6, SPACE, "centralised", "centralised")


def test_nobody():
    assert identity_report([], 2, SPACE, "quality", "quality") == (
        f"Identity from 0 of 0 faces in 2 photographs, encoder {SPACE}."
    )
