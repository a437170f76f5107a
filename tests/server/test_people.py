"""AssignFaces and the new inputs over the API of a running server; graphs of older versions still run."""

import json

import photographs
import pytest


@pytest.fixture(scope="module")
def picture(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("people") / "six.png"
    photographs.picture("t1").resize((640, 443)).save(path)
    return server.upload_image(path)


def graph(picture, class_type, **inputs):
    encoder = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.9}
    return {
        "encoder": {"class_type": "LoadFaceEncoder", "inputs": encoder},
        "image": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "node": {"class_type": class_type, "inputs": {"face_encoder": ["encoder", 0], "image": ["image", 0], **inputs}},
    }


def person(number, index):
    """Somebody of the same picture, by place from the largest face."""
    inputs = {"face_encoder": ["encoder", 0], "image": ["image", 0], "combine": "quality", "face_index": str(index)}
    return {f"person {number}": {"class_type": "EncodeIdentity", "inputs": {**inputs, "on_no_face": "error"}}}


def test_people_by_similarity(server, picture):
    known = {f"identity_{number}": [f"person {number}", 0] for number in (1, 2)}
    prompt = graph(picture, "AssignFaces", by="similarity", min_similarity=0.95, on_no_face="error", **known)
    prompt |= person(1, 3) | person(2, 0)
    prompt["mask"] = {"class_type": "MaskToImage", "inputs": {"mask": ["node", 2]}}
    prompt["save"] = {"class_type": "SaveImage", "inputs": {"images": ["mask", 0], "filename_prefix": "second"}}
    entry = server.wait(server.queue(prompt))
    assert entry["status"]["status_str"] == "success" and entry["outputs"]["save"]["images"]
    report = json.loads(entry["outputs"]["node"]["report"][0])
    [found] = report["images"]
    places = {face["person"]: place for place, face in enumerate(found["faces"]) if face["person"]}
    assert report["missing"] == [] and places == {1: 3, 2: 0} and entry["outputs"]["node"]["images"]


def test_a_graph_from_before_the_new_inputs_runs(server, picture):
    prompt = graph(picture, "DetectFaces", order="largest", index="all", on_no_face="error")
    entry = server.wait(server.queue(prompt))
    [found] = entry["outputs"]["node"]["faces"]
    assert entry["status"]["status_str"] == "success" and len(found["faces"]) == 6


def test_the_server_offers_the_new_inputs(server):
    for node in ("DetectFaces", "AssignFaces"):
        optional = server.object_info(node)["input"]["optional"]
        assert optional["face_landmarks"][0] == "FACE_LANDMARKS" and optional["bounding_boxes"][0] == "BOUNDING_BOX"
        assert {"mask_from", "soft_edge"} <= optional.keys()
