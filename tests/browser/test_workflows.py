"""Every example workflow in the page: all nodes are there, and what the page queues is the API's own form of it."""

import json

import pytest
from graphs import ROOT

NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
OWN = {"DetectFaces", "EncodeIdentity", "LandmarkControl"}  # the nodes that get something to look at


@pytest.mark.parametrize("name", NAMES)
def test_the_page_opens_it_and_would_queue_what_the_api_has(comfy, name):
    workflow = json.loads((ROOT / f"workflows/{name}.json").read_text())
    comfy.load(workflow)
    types = comfy.run("(app) => app.graph.nodes.map((node) => node.type)")
    assert sorted(types) == sorted(node["type"] for node in workflow["nodes"])
    assert comfy.run("(app) => app.graph.nodes.filter((node) => !LiteGraph.registered_node_types[node.type])") == []
    queued = comfy.run("async (app) => (await app.graphToPrompt()).output")
    api = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    assert {key: node["inputs"] for key, node in queued.items()} == {key: node["inputs"] for key, node in api.items()}
    saved = comfy.run("(app) => app.graph.serialize().nodes.map((node) => [String(node.id), node.widgets_values])")
    before = {str(node["id"]): node["widgets_values"] for node in workflow["nodes"] if node["type"] in OWN}
    assert {key: values for key, values in saved if key in before} == before


def test_a_queued_workflow_brings_its_picture(comfy):
    comfy.load(json.loads((ROOT / "workflows/facelets_portrait.json").read_text()))
    entry = comfy.queue()
    assert entry["status"]["completed"]
    comfy.look_at("SaveImage")
    shown = """(app) => {
        const node = app.graph.nodes.find((node) => node.type === "SaveImage");
        return node.imgs?.[0]?.naturalWidth ?? document.querySelector(`[data-node-id="${node.id}"] img`).naturalWidth;
    }"""
    assert comfy.run(shown) == 128
