"""AssignFaces on real photographs: who is where by likeness and by position, masks, policies, and what it says."""

import json

import pytest
import torch
from node_cases import blank, face, outputs, run_node, sentence


@pytest.fixture(scope="module")
def people(pack, encoder):
    """Identities of the four people A to D of one photograph, made from altered cut-outs."""

    def identity(person):
        inputs = {"combine": "mean", "face_index": "0", "on_no_face": "error"}
        image = face(person).flip(2) ** 1.2
        return outputs(pack, "EncodeIdentity", face_encoder=encoder, image=image, **inputs)[0]

    return {person: identity(person) for person in "ABCD"}


def row(*names):
    """Cut-outs side by side, each 256 pixels wide."""
    return torch.cat([blank() if name == " " else face(name) for name in names], dim=2)


def assign(pack, encoder, image, by="similarity", min_similarity=0.0, on_no_face="error", **more):
    inputs = {"face_encoder": encoder, "image": image, "by": by, "min_similarity": min_similarity}
    faces, *masks, report = outputs(pack, "AssignFaces", **inputs, on_no_face=on_no_face, **more)
    return faces, masks, json.loads(report)


def where(mask):
    """The cut-out of a row in which a mask [H, W] lies, None for an empty one."""
    columns = mask.sum(dim=0).nonzero()
    return None if len(columns) == 0 else int(columns.float().mean() // 256)


def test_everybody_is_found_wherever_they_stand(pack, encoder, people):
    image = torch.cat([row("A", "B", "C"), row("C", "A", "B"), row("B", "C", "A")])
    known = {f"identity_{number}": people[person] for number, person in enumerate("ABC", 1)}
    faces, masks, report = assign(pack, encoder, image, **known)
    assert faces.counts == (3, 3, 3) and report["missing"] == []
    places = [[where(mask[picture]) for mask in masks] for picture in range(3)]
    assert places == [[0, 1, 2, None], [1, 2, 0, None], [2, 0, 1, None]]
    # the faces come in the order of the people
    middles = [int((face.box[0] + face.box[2]) / 2 // 256) for face in faces.on_host]
    assert middles == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert all(mask.shape == (3, 256, 768) and mask.max() <= 1 for mask in masks)
    for picture in report["images"]:
        for found in picture["faces"]:
            likeness = found["similarity"]
            assert max(likeness, key=likeness.get) == str(found["person"]) and len(likeness) == 3


def test_who_is_not_there_has_an_empty_mask_and_is_named(pack, encoder, people):
    known = {"identity_1": people["D"], "identity_3": people["A"]}
    faces, masks, report = assign(pack, encoder, row("A", "B"), min_similarity=0.94, **known)
    assert report["missing"] == [1] and faces.counts == (1,)
    assert [where(mask[0]) for mask in masks] == [None, None, 0, None]
    assert [found["person"] for found in sorted(report["images"][0]["faces"], key=lambda f: f["box"][0])] == [3, None]
    # without a least similarity the nearest face will do
    _, masks, report = assign(pack, encoder, row("A", "B"), **known)
    assert report["missing"] == [] and [where(mask[0]) for mask in masks] == [1, None, 0, None]


def test_people_come_and_go_in_a_batch(pack, encoder, people):
    image = torch.cat([row("A", " "), row(" ", "B"), row(" ", "A")])
    known = {"identity_1": people["A"], "identity_2": people["B"]}
    faces, masks, report = assign(pack, encoder, image, min_similarity=0.94, **known)
    assert faces.counts == (1, 1, 1) and report["missing"] == []
    assert [[where(mask[picture]) for mask in masks[:2]] for picture in range(3)] == [[0, None], [None, 1], [1, None]]


def test_by_position(pack, encoder):
    small = torch.cat([face("B", 128), blank(128)], dim=1)
    image = torch.cat([face("A"), small, face("C")], dim=2)
    faces, masks, report = assign(pack, encoder, image, "left to right")
    assert [where(mask[0]) for mask in masks[:1]] == [0] and where(masks[1][0]) == 1 and report["missing"] == [4]
    middles = [(face.box[0] + face.box[2]) / 2 for face in faces.on_host]
    assert middles == sorted(middles) and "similarity" not in report["images"][0]["faces"][0]
    faces, masks, report = assign(pack, encoder, image, "largest")
    areas = [(face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) for face in faces.on_host]
    assert areas == sorted(areas, reverse=True) and masks[2].sum() < masks[0].sum()


def test_pictures_without_a_face(pack, encoder, people):
    image = torch.cat([face("A"), blank()])
    for policy, pictures in (("skip", 1), ("passthrough", 2)):
        faces, masks, report = assign(pack, encoder, image, on_no_face=policy, identity_1=people["A"])
        assert faces.counts == (1, 0) and all(len(mask) == pictures for mask in masks) and not masks[0][1:].any()
        assert [len(picture["faces"]) for picture in report["images"]] == [1, 0]
    inputs = {"face_encoder": encoder, "by": "similarity", "min_similarity": 0.0}
    text = sentence(pack, "AssignFaces", **inputs, image=image, on_no_face="error", identity_1=people["A"])
    assert "No face was found in image 2 of 2" in text
    _, masks, report = assign(pack, encoder, blank(), on_no_face="passthrough", identity_2=people["A"])
    assert report["missing"] == [2] and not any(mask.any() for mask in masks)
    _, *masks, _ = outputs(pack, "AssignFaces", **inputs, image=blank(), on_no_face="skip", identity_2=people["A"])
    assert {type(mask).__name__ for mask in masks} == {"ExecutionBlocker"}


def test_somebody_without_a_face_is_in_no_picture(pack, encoder, people):
    inputs = {"combine": "mean", "face_index": "0", "on_no_face": "passthrough"}
    nobody, _ = outputs(pack, "EncodeIdentity", face_encoder=encoder, image=blank(), **inputs)
    _, masks, report = assign(pack, encoder, row("A", "B"), identity_1=nobody, identity_2=people["A"])
    assert report["missing"] == [1] and not masks[0].any() and where(masks[1][0]) == 0
    _, masks, report = assign(pack, encoder, face("A"), identity_1=nobody)
    assert report["missing"] == [1] and not masks[0].any()


def test_bad_input_is_one_sentence(pack, encoder, people):
    inputs = {"face_encoder": encoder, "image": face("A"), "min_similarity": 0.0, "on_no_face": "error"}
    text = sentence(pack, "AssignFaces", **inputs, by="similarity")
    assert text.startswith("AssignFaces by similarity needs to know who to look for: connect identity_1")
    other = people["A"].__class__(
        "facelets-128", *(getattr(people["A"], n) for n in ("vector", "vectors", "scores")), "mean"
    )
    text = sentence(pack, "AssignFaces", **inputs, by="similarity", identity_1=other)
    assert text.startswith("The identity was made by facelets-128, but face_encoder is dlib-resnet34-128")
    text = sentence(pack, "AssignFaces", **inputs, by="largest", mask_from="parser")
    assert text.startswith("The mask_from is parser (landmarks needs none), which takes a face parser; put one")
    assert "79999_iter.pth" in text and text.endswith("models/face_parsing.")


def test_masks_of_landmarks_and_the_preview(pack, encoder, people):
    image = row("A", "B")
    known = {"identity_1": people["A"], "identity_2": people["B"]}
    _, boxes, _ = assign(pack, encoder, image, **known)
    _, hulls, _ = assign(pack, encoder, image, mask_from="landmarks", soft_edge=0.1, **known)
    for box, hull in zip(boxes[:2], hulls[:2], strict=True):
        assert where(hull[0]) == where(box[0]) and ((hull > 0) & (hull < 1)).any()
        assert 0.5 < hull.sum() / box.sum() < 1.3
    assert not hulls[2].any() and not hulls[3].any()
    inputs = {"face_encoder": encoder, "image": image, "by": "left to right", "min_similarity": 0.0}
    shown = run_node(pack, "AssignFaces", **inputs, on_no_face="error").outputs["node"]
    assert len(shown["images"]) == 1 and json.loads(shown["report"][0])["by"] == "left to right"


def test_two_people_are_applied_each_in_their_place(pack, encoder, people, applied):
    """The masks go straight into attn_mask."""
    known = {"identity_1": people["A"], "identity_2": people["B"]}
    _, masks, _ = assign(pack, encoder, row("A", "B"), **known)
    inputs = {key: value for key, value in applied.items() if key not in ("model", "positive", "negative")}
    model, positive, negative = (applied[key] for key in ("model", "positive", "negative"))
    for number in (1, 2):
        model, positive, negative, _ = outputs(
            pack, "ApplyIDAdapter", model=model, positive=positive, negative=negative,
            identity=known[f"identity_{number}"], attn_mask=masks[number - 1], **inputs,
        )  # fmt: skip
    assert model is not applied["model"]
