"""The example workflow posted to a real server, as a headless client does."""

import io
import json

import numpy as np
import pytest
import requests
from comfy_versions import first_and_last
from graphs import ROOT, example_on_tiny_models, group_photograph
from PIL import Image

API = ROOT / "workflows/api"
EXAMPLES = sorted(path.stem for path in API.glob("*.json"))


@pytest.fixture(scope="module")
def graph(server):
    graph = example_on_tiny_models(size=128, steps=2)
    graph["4"]["inputs"]["image"] = server.upload_image(group_photograph())
    return graph


def test_the_pack_is_there(server):
    info = server.object_info("ApplyIDAdapter")
    assert info["category"] == "Likeness" and info["python_module"] == "custom_nodes.likeness"
    assert "IMPORT FAILED): " + str(server.base) not in server.log_tail(10_000)


def with_seed(graph, seed):
    return {**graph, "13": {**graph["13"], "inputs": {**graph["13"]["inputs"], "seed": seed}}}


def pixels(server, outputs, node_id):
    (image,) = outputs[node_id]["images"]
    return np.asarray(Image.open(io.BytesIO(server.view(**image))))


def test_from_photograph_to_picture_and_score(server, graph):
    progress = []
    outputs = server.wait(server.queue(graph), lambda *event: progress.append(event))["outputs"]
    assert first_and_last([event[1:] for event in progress if event[0] == "13"]) == [(1, 2), (2, 2)]

    picture, control = pixels(server, outputs, "15"), pixels(server, outputs, "16")
    assert picture.shape == control.shape == (128, 128, 3) and picture.std() > 5
    # The five landmarks are dots of full colour on black.
    assert all((control == colour).all(axis=-1).any() for colour in ((255, 0, 0), (0, 255, 0), (255, 0, 255)))

    faces = outputs["6"]["faces"][0]["faces"]
    assert sum(face["confidence"] > 0.95 for face in faces) == 6
    widths = [face["box"][2] - face["box"][0] for face in faces]
    assert faces[0]["number"] == 0 and widths[0] > 90
    assert pixels(server, outputs, "6").shape == (886, 1280, 3)

    report = json.loads(outputs["17"]["report"][0])
    assert report["encoder"] == "dlib-resnet34-128" and len(report["images"]) == 1
    assert report["skipped"] + report["accepted"] + report["rejected"] == 1
    assert len(outputs["17"]["scores"]) == report["accepted"] + report["rejected"]


def test_scores_of_real_faces_are_in_the_history(server, graph):
    """Every face of the photograph against its largest: that one is itself, the others are not."""
    real = {key: graph[key] for key in ("4", "5", "6", "7")}
    real["17"] = {**graph["17"], "inputs": {**graph["17"]["inputs"], "image": ["6", 1], "threshold": 0.95}}
    real["accepted"] = {"class_type": "PreviewImage", "inputs": {"images": ["17", 0]}}
    outputs = server.wait(server.queue(real))["outputs"]
    report = json.loads(outputs["17"]["report"][0])
    assert report["images"][0]["outcome"] == "accepted" and report["images"][0]["percent"] > 99
    assert report["accepted"] == 1 and report["best"] == 0 and len(outputs["accepted"]["images"]) == 1
    assert all(image["outcome"] != "accepted" for image in report["images"][1:])
    assert outputs["17"]["scores"] == pytest.approx(
        [i["score"] for i in report["images"] if i["score"] is not None], abs=1e-5
    )


def test_same_json_same_pixels(server, graph):
    first = pixels(server, server.wait(server.queue(with_seed(graph, 5)))["outputs"], "15")
    other = pixels(server, server.wait(server.queue(with_seed(graph, 6)))["outputs"], "15")
    again = pixels(server, server.wait(server.queue(with_seed(graph, 5)))["outputs"], "15")
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.fixture(scope="module")
def portrait():
    return json.loads((ROOT / "workflows/api/facelets_portrait.json").read_text())


def test_the_same_person_again_on_facelets(server, portrait):
    """As it is in the repository: no file, no upload, no change."""
    outputs = server.wait(server.queue(portrait))["outputs"]
    picture, control = pixels(server, outputs, "14"), pixels(server, outputs, "15")
    assert picture.shape == control.shape == (128, 128, 3) and picture.std() > 20
    assert len(outputs["7"]["faces"][0]["faces"]) == 1
    report = json.loads(outputs["16"]["report"][0])
    [judged], [score] = report["images"], outputs["16"]["scores"]
    assert report["encoder"] == "facelets-128" and score > 0.3 and judged["score"] == pytest.approx(score, abs=1e-5)
    somebody = {**portrait, "5": {**portrait["5"], "inputs": {**portrait["5"]["inputs"], "seed": 7}}}
    other = pixels(server, server.wait(server.queue(somebody))["outputs"], "14")
    assert np.abs(other.astype(int) - picture).mean() > 2


@pytest.fixture(scope="module")
def cure():
    return json.loads((ROOT / "workflows/api/facelets_cure.json").read_text())


def test_the_cure_gives_the_prompt_back_on_facelets(server, cure):
    """As it is in the repository. Its prompt asks for red hair where the person's is black."""
    mask = {"class_type": "MaskToImage", "inputs": {"mask": ["23", 0]}}
    graph = {**cure, "mask": mask, "shown": {"class_type": "PreviewImage", "inputs": {"images": ["mask", 0]}}}
    outputs = server.wait(server.queue(graph))["outputs"]
    without, cured, overlay = (pixels(server, outputs, node).astype(int) for node in ("17", "21", "24"))
    share = pixels(server, outputs, "shown")[..., 0] / 255
    assert without.shape == cured.shape == overlay.shape == (128, 128, 3) and share.shape == (128, 128)
    assert 0.05 < share.mean() < 0.9 and share.min() < 0.05 and share.max() > 0.95
    worked = share > 0.5
    changed = np.abs(cured - without).mean(axis=-1)
    assert changed[worked].mean() > 20 and changed[worked].mean() > 2 * changed[~worked].mean()
    half = cured + (np.array([0, 255, 0]) - cured) * share[..., None] / 2
    assert np.abs(overlay - half).max() < 3
    hair = [((red > 150) & (green < 130) & (blue < 80)).sum() for red, green, blue in (without.T, cured.T)]
    assert hair[1] > 500 and hair[1] > 2 * hair[0]
    assert outputs["22"]["scores"][0] > max(0.6, outputs["18"]["scores"][0] - 0.1)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_template_browser_has_the_example(server, name):
    address = f"http://127.0.0.1:{server.port}/api/workflow_templates"
    listed = requests.get(address, timeout=30).json()
    assert name in listed["likeness"]
    opened = requests.get(f"{address}/likeness/{name}.json", timeout=30)
    assert opened.json()["version"] == 0.4
    assert requests.get(f"{address}/likeness/{name}.jpg", timeout=30).content[:3] == b"\xff\xd8\xff"


def test_the_server_knows_every_input_of_the_examples(server):
    graphs = [json.loads((API / f"{name}.json").read_text()) for name in EXAMPLES]
    nodes = [node for graph in graphs for node in graph.values()]
    for kind in {node["class_type"] for node in nodes}:
        info = server.object_info(kind)["input"]
        required, optional = info.get("required", {}).keys(), info.get("optional", {}).keys()
        for node in nodes:
            if node["class_type"] == kind:
                assert required <= node["inputs"].keys() <= required | optional
