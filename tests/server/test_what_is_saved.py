"""What files that leave a graph hold: pictures the workflow as ComfyUI writes it, identities numbers, no photograph."""

import io
import json

import photographs
import pytest
import safetensors
from PIL import Image

TEXT = "the words of the prompt"


@pytest.fixture(scope="module")
def saved(server, tmp_path_factory):
    """The graph that ran, what its nodes said, and the server."""
    path = tmp_path_factory.mktemp("saved") / "t1.jpg"
    photographs.picture("t1").resize((640, 443)).save(path)
    name = server.upload_image(path)
    encoder = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5}
    person = {"face_encoder": ["encoder", 0], "combine": "mean", "face_index": "0", "on_no_face": "error"}
    graph = {
        "encoder": {"class_type": "LoadFaceEncoder", "inputs": encoder},
        "picture": {"class_type": "LoadImage", "inputs": {"image": name}},
        "person": {"class_type": "EncodeIdentity", "inputs": {**person, "image": ["picture", 0]}},
        "file": {"class_type": "SaveIdentity", "inputs": {"identity": ["person", 0], "filename_prefix": "anna"}},
        "gate": {"class_type": "IDSimilarity", "inputs": {"face_encoder": ["encoder", 0], "image": ["picture", 0],
                                                          "identity": ["person", 0], "threshold": 0.0,
                                                          "on_no_face": "error"}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["gate", 3], "filename_prefix": TEXT}},
    }  # fmt: skip
    return graph, server.wait(server.queue(graph))["outputs"], server


@pytest.mark.parametrize("node", ["save", "gate"])
def test_pictures_carry_the_workflow_and_nothing_else(saved, node):
    graph, outputs, server = saved
    picture = Image.open(io.BytesIO(server.view(**outputs[node]["images"][0])))
    assert picture.info.keys() <= {"prompt"}
    if node == "save":
        kept = json.loads(picture.info["prompt"])
        assert {key: {part: kept[key][part] for part in graph[key]} for key in kept} == graph


def test_identities_hold_no_photograph(saved):
    _, outputs, server = saved
    [file] = outputs["file"]["identities"]
    data = server.view(**{**file, "type": "output"})
    tensors = safetensors.deserialize(data)
    assert {name: tensor["shape"] for name, tensor in tensors} == {
        "vector": [128], "vectors": [1, 128], "scores": [1], "quality": [1]
    }  # fmt: skip
    assert len(data) < 4096 and b"t1" not in data
