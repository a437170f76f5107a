"""What nodes hand to the page's widgets: a copy of the picture, and all faces with the numbers that the inputs mean."""

import json

import numpy as np
import pytest
import torch
from comfy_versions import shown_again
from host_cases import conditioning
from likeness.core.host.faces.shown import faces_to_show
from node_cases import blank, face, run_node
from PIL import Image

ORDERS = ("largest", "left to right", "most confident")


@pytest.fixture(scope="module")
def row():
    """Three faces, the smallest left and the largest right."""
    pictures = []
    for person, share in (("A", 0.6), ("B", 0.8), ("C", 1.0)):
        side = round(256 * share)
        small = torch.nn.functional.interpolate(face(person).movedim(-1, 1), (side, side), mode="area")
        picture = blank().clone()
        picture[:, :side, :side] = small.movedim(1, -1)
        pictures.append(picture)
    return torch.cat(pictures, dim=2)


@pytest.fixture(scope="module")
def found(encoder, row):
    return encoder.detect(row)


def to_show(image, found):
    return faces_to_show(image, found)


@pytest.mark.parametrize("order", ORDERS)
def test_the_numbers_are_those_that_index_means(row, found, order):
    [shown] = to_show(row, found)
    assert shown["searched"] and len(shown["faces"]) == 3
    for known in shown["faces"]:
        [chosen] = found.select(order, str(known["numbers"][order])).describe()[0]["faces"]
        assert all(chosen[part] == known[part] for part in ("box", "landmarks", "confidence"))


def test_the_copy_is_small_and_written_once(pack, row):
    shown = to_show(torch.cat([row, row]), None)
    assert shown[0] == shown[1] and shown[0]["size"] == [768, 256]
    reference = shown[0]["picture"]
    path = pack.base / reference["type"] / reference["subfolder"] / reference["filename"]
    with Image.open(path) as picture:
        assert picture.size == (640, 213)
        wanted = torch.nn.functional.interpolate(row.movedim(-1, 1), (213, 640), mode="area")[0].movedim(0, -1)
        assert np.abs(np.asarray(picture) / 255 - wanted.numpy()).mean() < 0.02


def test_of_a_long_batch_sixteen_are_shown():
    shown = to_show(blank().repeat(18, 1, 1, 1), None)
    assert len(shown) == 16 and not any(picture["searched"] or picture["faces"] for picture in shown)


def test_detect_faces_shows_everybody_whoever_is_chosen(pack, encoder, row, found):
    inputs = {"order": "left to right", "index": "1", "on_no_face": "error"}
    result = run_node(pack, "DetectFaces", face_encoder=encoder, image=row, **inputs)
    shown = result.outputs["node"]["likeness_faces"]
    assert shown == to_show(row, found)
    [picture] = json.loads(result.values("node")[4])["images"]
    [middle] = [known for known in shown[0]["faces"] if known["numbers"]["left to right"] == 1]
    assert [chosen["box"] for chosen in picture["faces"]] == [middle["box"]]


def test_encode_identity_shows_everybody(pack, encoder, row, found):
    inputs = {"combine": "mean", "face_index": "1", "on_no_face": "error"}
    result = run_node(pack, "EncodeIdentity", face_encoder=encoder, image=row, **inputs)
    assert result.outputs["node"]["likeness_faces"] == to_show(row, found)


def test_landmark_control_shows_what_it_found_and_what_it_did_not_look_for(pack, encoder, row, found):
    inputs = {"face_index": "0", "offset_x": 0.2, "offset_y": 0.0, "scale": 0.5, "rotate": 20.0, "strength": 0.8}
    inputs |= {"start_at": 0.0, "end_at": 1.0, "on_no_face": "error", "control_net": object()}
    inputs |= {"positive": conditioning(seed=1), "negative": conditioning(seed=2)}
    inputs |= {"face_encoder": encoder, "image": row, "strength": 0.0}
    [shown] = run_node(pack, "LandmarkControl", **inputs, landmarks="").outputs["node"]["likeness_faces"]
    assert [shown] == to_show(row, found)
    text = json.dumps({"size": shown["size"], "faces": [shown["faces"][1]["landmarks"]]})
    by_text = run_node(pack, "LandmarkControl", **inputs, landmarks=text)
    [unseen] = by_text.outputs["node"]["likeness_faces"]
    assert not unseen["searched"] and unseen["faces"] == [] and unseen["picture"] == shown["picture"]
    by_number = run_node(pack, "LandmarkControl", **{**inputs, "face_index": "1"}, landmarks="")
    assert by_number.values("node")[3] == by_text.values("node")[3]  # what the page writes is what the node found


def test_what_is_shown_comes_from_the_cache_where_comfyui_sends_it_again(pack):
    graph = {
        "image": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "encoder": {
            "class_type": "LoadFaceEncoder",
            "inputs": {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5, "search": "plain"},
        },
        "node": {
            "class_type": "EncodeIdentity",
            "inputs": {
                **{"face_encoder": ["encoder", 0], "image": ["image", 0], "combine": "mean", "face_index": "0"},
                "on_no_face": "passthrough",
            },
        },
        "end": {"class_type": "PreviewAny", "inputs": {"source": ["node", 1]}},
    }
    executor = pack.executor()
    first, second = (pack.run_graph(graph, executor).outputs for _ in range(2))
    again = shown_again()
    assert first["node"]["likeness_faces"]
    assert second.get("node") == (first["node"] if again else None)
    assert vars(pack.nodes["LandmarkControl"].GET_SCHEMA()).get("has_intermediate_output", False) == again
