"""DetectFaces with what ComfyUI's own nodes found, and its masks and report."""

import json

import numpy as np
import photographs
import pytest
import torch
from likeness.core.faces.given import boxes_of
from likeness.core.faces.regions import overlay
from node_cases import blank, face, outputs, sentence

PHOTOGRAPH = "t1"


@pytest.fixture(scope="module")
def image():
    return photographs.as_image(photographs.picture(PHOTOGRAPH))


@pytest.fixture(scope="module")
def everybody(pack, encoder, image):
    """What DetectFaces gives for the whole photograph."""
    return detect(pack, encoder, image)


@pytest.fixture(scope="module")
def landmarks():
    """FACE_LANDMARKS of A and C on the photograph."""
    meshes = json.loads((photographs.ROOT / "tests/data/face_mesh.json").read_text())
    faces = [{"landmarks_xy": np.array(mesh, dtype=np.float32), "score": 0.75} for mesh in meshes.values()]
    return {"frames": [faces], "image_size": (886, 1280), "connection_sets": {}}


def detect(pack, encoder, image, on_no_face="error", **more):
    inputs = {"face_encoder": encoder, "image": image, "order": "left to right", "index": "all"}
    faces, crops, mask, count, report, boxes = outputs(pack, "DetectFaces", **inputs, on_no_face=on_no_face, **more)
    assert json.loads(report)["count"] == count == faces.total == sum(map(len, boxes))
    return faces, crops, mask, json.loads(report)


def refused(pack, encoder, image, on_no_face="error", **more):
    inputs = {"face_encoder": encoder, "image": image, "order": "largest", "index": "all", "on_no_face": on_no_face}
    return sentence(pack, "DetectFaces", **inputs, **more)


def known(person):
    return next(face["box"] for face in photographs.people()[PHOTOGRAPH]["faces"] if face["person"] == person)


def as_box(person, **more):
    left, top, right, bottom = known(person)
    return {"x": left, "y": top, "width": right - left, "height": bottom - top, "label": "face", **more}


def test_the_report_has_every_face(pack, encoder):
    faces, _, _, report = detect(pack, encoder, torch.cat([face("A"), face("C")]))
    assert report["encoder"] == "dlib-resnet34-128" and [picture["image"] for picture in report["images"]] == [0, 1]
    for picture, found in zip(report["images"], faces.on_host, strict=True):
        [told] = picture["faces"]
        assert tuple(told["box"]) == found.box and told["confidence"] == found.score
        assert [tuple(point) for point in told["landmarks"]] == list(found.landmarks)


def test_landmarks_are_the_faces(pack, encoder, image, landmarks):
    faces, crops, mask, report = detect(pack, encoder, image, face_landmarks=landmarks)
    assert faces.counts == (2,) and len(crops) == 2 and mask.shape == (1, 886, 1280)
    assert [found["confidence"] for found in report["images"][0]["faces"]] == [0.75, 0.75]
    for found, person in zip(faces.on_host, "AC", strict=True):
        assert photographs.overlap(found.box, known(person)) > 0.6
    inputs = {"face_encoder": encoder, "image": image, "by": "left to right", "min_similarity": 0.0}
    people, *_ = outputs(pack, "AssignFaces", **inputs, on_no_face="error", face_landmarks=landmarks)
    assert torch.equal(people.boxes, faces.boxes)


def test_a_picture_where_mediapipe_found_nobody(pack, encoder, image, landmarks):
    empty = {**landmarks, "frames": [[]]}
    assert "No face was found in the image" in refused(pack, encoder, image, face_landmarks=empty)
    _, _, mask, report = detect(pack, encoder, image, "passthrough", face_landmarks=empty)
    assert report["count"] == 0 and not mask.any()
    assert "belong to 1 picture, but image has 2" in refused(
        pack, encoder, image.expand(2, -1, -1, -1), face_landmarks=landmarks
    )


def test_only_the_boxes_are_searched(pack, encoder, image, everybody):
    everybody, *_ = everybody
    boxes = [[as_box("A"), as_box("F")]]
    faces, _, _, report = detect(pack, encoder, image, bounding_boxes=boxes)
    assert faces.counts == (2,) and everybody.total == 6 and report["images"][0]["boxes_without_face"] == []
    for found, person in zip(faces.on_host, "AF", strict=True):
        [same] = [other for other in everybody.on_host if photographs.overlap(other.box, known(person)) > 0.5]
        assert photographs.overlap(found.box, same.box) > 0.8
        width = same.box[2] - same.box[0]
        assert np.abs(np.subtract(found.landmarks, same.landmarks)).max() < 0.08 * width
        place = everybody.on_host.index(same)
        vectors = (encoder.embed(image, of)[at] for of, at in ((faces, "AF".index(person)), (everybody, place)))
        assert torch.cosine_similarity(*vectors, dim=0) > 0.98


def test_boxes_for_other_nodes_are_those_of_the_chosen_faces(pack, encoder):
    image = torch.cat([face("A"), blank(), face("C")])
    inputs = {"face_encoder": encoder, "image": image, "order": "largest", "index": "0", "on_no_face": "skip"}
    faces, *_, boxes = outputs(pack, "DetectFaces", **inputs)
    assert [len(own) for own in boxes] == [1, 0, 1]
    first, _, last = boxes_of(boxes, 3)
    for [box], found in zip((first, last), faces.on_host, strict=True):
        assert box == pytest.approx(found.box)
    assert [(box["label"], box["score"]) for own in boxes for box in own] == [("face", f.score) for f in faces.on_host]
    again, *_ = outputs(pack, "DetectFaces", **inputs, bounding_boxes=boxes)
    assert again.counts == (1, 0, 1)


def test_a_face_in_two_boxes_is_one_face(pack, encoder, image):
    left, top, right, bottom = known("A")
    around = {"x": left - 20, "y": top - 30, "width": right - left + 50, "height": bottom - top + 40}
    faces, *_ = detect(pack, encoder, image, bounding_boxes=[as_box("A"), around])
    assert faces.counts == (1,) and photographs.overlap(faces.on_host[0].box, known("A")) > 0.6


def test_a_box_without_a_face(pack, encoder, image):
    boxes = [
        as_box("A"),
        {"x": 400, "y": 700, "width": 120, "height": 120},
        {"x": 5000, "y": 1, "width": 9, "height": 9},
    ]
    text = refused(pack, encoder, image, bounding_boxes=boxes)
    assert text.startswith("No face was found in box 2 of 3 in picture 1") and "set on_no_face to skip" in text
    for policy in ("skip", "passthrough"):
        faces, _, mask, report = detect(pack, encoder, image, policy, bounding_boxes=boxes)
        assert faces.counts == (1,) and report["images"][0]["boxes_without_face"] == [1, 2] and len(mask) == 1
    faces, _, mask, report = detect(pack, encoder, image, "passthrough", bounding_boxes=boxes[1:])
    assert faces.counts == (0,) and not mask.any()
    assert "No face was found in the image" in refused(pack, encoder, image, bounding_boxes=[])


def test_boxes_of_a_batch(pack, encoder):
    image = torch.cat([face("A"), blank(), face("C")])
    whole = {"x": 0, "y": 0, "width": 256, "height": 256}
    faces, _, mask, report = detect(pack, encoder, image, "skip", bounding_boxes=whole)
    assert faces.counts == (1, 0, 1) and len(mask) == 2
    assert [picture["boxes_without_face"] for picture in report["images"]] == [[], [0], []]
    faces, *_ = detect(pack, encoder, image, "passthrough", bounding_boxes=[[whole], [], []])
    assert faces.counts == (1, 0, 0)


def test_bad_structures_and_both_at_once(pack, encoder, image, landmarks):
    text = refused(pack, encoder, image, face_landmarks=landmarks, bounding_boxes=as_box("A"))
    assert text.startswith("Both face_landmarks and bounding_boxes say where the faces are; connect one of them")
    assert "connect MediaPipe Face Landmarker" in refused(pack, encoder, image, face_landmarks={"frames": 3})
    assert "x, y, width and height in pixels" in refused(pack, encoder, image, bounding_boxes=(1, 2, 3, 4))


def test_mask_from_box_is_the_mask_as_ever(pack, encoder, everybody):
    faces, _, plain, _ = everybody
    assert torch.equal(plain, overlay.box_masks(faces).cpu())
    (_, _, plain, _), (_, _, named, _) = (
        detect(pack, encoder, face("A"), **more) for more in ({}, {"mask_from": "box", "soft_edge": 0.0})
    )
    assert torch.equal(named, plain)


def test_mask_from_landmarks(pack, encoder):
    image = torch.cat([face("A"), blank(), face("C")])
    _, _, boxes, _ = detect(pack, encoder, image, "passthrough")
    _, _, hulls, _ = detect(pack, encoder, image, "passthrough", mask_from="landmarks")
    assert set(hulls.unique().tolist()) == {0.0, 1.0} and not hulls[1].any()
    for picture in (0, 2):
        common = (hulls[picture] * boxes[picture]).sum() / boxes[picture].sum()
        assert 0.5 < common < 0.95  # rounder than the box
    _, _, kept, _ = detect(pack, encoder, image, "skip", mask_from="landmarks")
    assert torch.equal(kept, hulls[[0, 2]])


def test_mask_from_a_parser_that_is_there(pack, encoder):
    """Weights are random, so that the place of the mask is what can be seen, and that files differ."""
    from parser_files import reference

    assert "which takes a face parser; put one" in refused(pack, encoder, face("A"), mask_from="parser")
    path = pack.base / "models/face_parsing/random.pth"
    path.parent.mkdir(exist_ok=True)
    seen = []
    try:
        for seed in (0, 3):
            torch.save(reference(seed=seed).state_dict(), path)
            _, _, mask, _ = detect(pack, encoder, face("A"), mask_from="parser", soft_edge=0.05)
            seen.append(mask)
    finally:
        path.unlink()
    _, _, near, _ = detect(pack, encoder, face("A"), mask_from="landmarks", soft_edge=1.0)
    for mask in seen:
        assert mask.shape == (1, 256, 256) and mask.any() and (mask <= 1).all() and not mask[near == 0].any()
    assert not torch.equal(*seen)
