"""The examples that run on Facelets, posted as they are but for fewer steps: each shows what its note says."""

import io
import json

import numpy as np
import pytest
from comfy_process import ComfyError
from graphs import ROOT
from PIL import Image

STEPS = 6


def example(name, steps=STEPS):
    """The graph, and the ids of its nodes by title; with its own steps where `steps` is None."""
    graph = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    titles = {node["_meta"]["title"]: key for key, node in graph.items()}
    assert len(titles) == len(graph), "two nodes have one title"
    for node in graph.values():
        if steps and node["class_type"] == "KSampler":
            node["inputs"]["steps"] = steps
    return graph, titles


@pytest.fixture(scope="module")
def run(server):
    """{title: what ComfyUI's history has of that node} of a graph with its ids by title."""

    def run(graph, titles):
        outputs = server.wait(server.queue(graph))["outputs"]
        return {title: outputs[key] for title, key in titles.items() if key in outputs}

    return run


@pytest.fixture(scope="module")
def pictures(server):
    def pictures(shown):
        loaded = [Image.open(io.BytesIO(server.view(**image))).convert("RGB") for image in shown["images"]]
        return [np.asarray(picture).astype(int) for picture in loaded]

    return pictures


def looked_at(graph, titles, title, of):
    """Adds a DetectFaces called `title` that looks at the picture of the node called `of`."""
    inputs = {"face_encoder": ["1", 5], "image": [titles[of], 0], "order": "left to right", "index": "all"}
    graph[title] = {"class_type": "DetectFaces", "inputs": {**inputs, "on_no_face": "error"}}
    titles[title] = title


def landmarks(outputs, title):
    return np.array([face["landmarks"] for face in outputs[title]["faces"][0]["faces"]])


def test_the_person_takes_the_pose_of_somebody_else(run):
    graph, titles = example("facelets_pose")
    for title, of in (("person", "Decode somebody"), ("pose", "Decode somebody else"), ("drawn", "Decode")):
        looked_at(graph, titles, title, of)
    outputs = run(graph, titles)
    person, pose, drawn = (landmarks(outputs, title)[0] for title in ("person", "pose", "drawn"))
    missed, moved = (np.linalg.norm(drawn - points, axis=1).mean() for points in (pose, person))
    assert missed < 5 and moved > 1.5 * missed
    assert outputs["How alike"]["scores"][0] > 0.3


def test_two_people_stand_where_their_masks_are(run):
    graph, titles = example("facelets_two_people")
    known = {f"identity_{n}": [titles[f"Identity of the {who}"], 0] for n, who in ((1, "first"), (2, "second"))}
    inputs = {"face_encoder": ["1", 5], "image": [titles["Decode"], 0], "by": "similarity", "min_similarity": -1.0}
    graph["who"] = {"class_type": "AssignFaces", "inputs": {**inputs, **known, "on_no_face": "error"}}
    titles["who"] = "who"
    outputs = run(graph, titles)
    [found] = json.loads(outputs["who"]["report"][0])["images"]
    left, right = sorted(found["faces"], key=lambda face: face["box"][0])
    assert (left["person"], right["person"]) == (1, 2)
    for face, other in ((left, "2"), (right, "1")):
        assert face["similarity"][str(face["person"])] > max(0.25, face["similarity"][other])


def test_hair_glasses_and_laugh_are_cured(run, pictures):
    outputs = run(*example("facelets_cure_all", steps=None))  # what the cure brings is not there after six
    [pair] = pictures(outputs["Save both side by side"])
    assert pair.shape == (128, 260, 3)
    blond, dark = [], []
    for half in (pair[:, :128], pair[:, -128:]):
        red, green, blue = half.transpose(2, 0, 1)
        blond.append(((red > 180) & (green > 150) & (blue < 150)).sum())
        dark.append((half[48:72].max(axis=-1) < 70).sum())  # where the eyes are: sunglasses
    assert blond[1] > 2 * blond[0] and dark[1] > 2 * dark[0]
    without, cured = (outputs[f"How alike {way} the cure"]["scores"][0] for way in ("without", "with"))
    assert cured > max(0.3, without - 0.05)


def test_the_gate_sorts_six_pictures(run, pictures):
    graph, titles = example("facelets_best_of")
    outputs = run(graph, titles)
    scores = outputs["The gate: most alike first"]["scores"]
    accepted, rejected = pictures(outputs["Save the accepted"]), pictures(outputs["The rejected"])
    assert (
        len(scores) == 6
        and len(accepted) == sum(score >= 0.5 for score in scores)
        and len(rejected) == 6 - len(accepted)
    )
    place = [score for score in scores if score >= 0.5].index(max(scores))
    assert np.array_equal(pictures(outputs["Save the best"])[0], accepted[place])
    graph[titles["The gate: most alike first"]]["inputs"]["threshold"] = 0.99
    outputs = run(graph, titles)
    assert "Save the accepted" not in outputs and len(outputs["The rejected"]["images"]) == 6
    assert np.array_equal(pictures(outputs["Save the best"])[0], accepted[place])


def test_an_identity_of_five_is_saved_and_used_again(run):
    with pytest.raises(ComfyError, match="facelets_person_00001_.safetensors.* was not found"):
        run(*example("facelets_saved_identity"))
    outputs = run(*example("facelets_five_photographs", steps=None))
    assert len(outputs["The five photographs"]["images"]) == 5
    assert min(outputs["How alike each of the five"]["scores"]) > 0.7
    assert outputs["Save the identity"]["identities"][0]["filename"] == "facelets_person_00001_.safetensors"
    assert outputs["How alike"]["scores"][0] > 0.55
    assert run(*example("facelets_saved_identity"))["How alike"]["scores"][0] > 0.3


def test_small_faces_are_redrawn_in_place(run, pictures):
    outputs = run(*example("facelets_detailer", steps=None))
    [both], [drawn] = pictures(outputs["Before and after"]), pictures(outputs["Save the picture"])
    before, after = both[:128], both[-128:]
    changed = np.abs(after - before).max(axis=-1)
    assert drawn.shape == (128, 512, 3) and np.array_equal(after, drawn)
    assert not changed[:, :256].any() and 0.05 < (changed[:, 256:] > 0).mean() < 0.5
    for who in ("First", "Second"):
        was, became = (outputs[f"{who} person, {when}"]["scores"][0] for when in ("before", "after"))
        assert became > max(0.3, was + 0.1)
