"""The example workflows as files: the page's form and the API's form are one graph, and hold nothing of one machine."""

import json
import re
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))
NOTES = ("Note", "MarkdownNote")
# What the page adds to the values of a node's widgets: seeds say what happens next, pictures have an upload button.
PAGE_ONLY = {"KSampler": {1}, "LoadImage": {1}}
TITLE = 30  # pixels of a node's title, which stands above its position


def read(name, form):
    return json.loads((WORKFLOWS / ("api" if form == "api" else ".") / f"{name}.json").read_text())


def reduced(workflow):
    """A UI workflow as {id: (class, links by input, names of the widgets that a link overrules, widget values)}."""
    source = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    nodes = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        links = {socket["name"]: source[socket["link"]] for socket in node["inputs"] if socket["link"] is not None}
        skipped = PAGE_ONLY.get(node["type"], set())
        values = [value for place, value in enumerate(node["widgets_values"]) if place not in skipped]
        overruled = {socket["widget"]["name"] for socket in node["inputs"] if "widget" in socket}
        nodes[str(node["id"])] = (node["type"], links, overruled, values)
    return nodes


def test_there_are_examples():
    assert {"instantid_basic", "facelets_portrait", "facelets_cure"} <= set(NAMES)
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_are_one_graph(name):
    page, api = reduced(read(name, "ui")), read(name, "api")
    assert page.keys() == api.keys()
    for node_id, (kind, links, overruled, values) in page.items():
        inputs = api[node_id]["inputs"]
        assert kind == api[node_id]["class_type"]
        assert links == {key: value for key, value in inputs.items() if isinstance(value, list)}
        shown = {key: "" if key in overruled else value for key, value in inputs.items()}  # every such one is a text
        assert values == [value for value in shown.values() if not isinstance(value, list)]


@pytest.mark.parametrize("name", NAMES)
def test_links_of_the_page_are_consistent(name):
    workflow = read(name, "ui")
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][output]["links"] and nodes[target]["inputs"][slot]["link"] == link
        assert nodes[source]["outputs"][output]["type"] == nodes[target]["inputs"][slot]["type"] == kind
    assert workflow["last_node_id"] == max(nodes) and workflow["last_link_id"] == len(workflow["links"])
    boxes = [
        (*node["pos"], node["pos"][0] + node["size"][0], node["pos"][1] + node["size"][1]) for node in nodes.values()
    ]
    for number, one in enumerate(boxes):
        for two in boxes[:number]:
            assert one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1], "nodes overlap"


@pytest.mark.parametrize("name", NAMES)
def test_every_node_lies_in_one_group(name):
    workflow = read(name, "ui")
    assert {"The person", "The pose", "The picture"} <= {group["title"] for group in workflow["groups"]}
    for node in workflow["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        inside = 0
        for left, top, across, down in (group["bounding"] for group in workflow["groups"]):
            apart = x >= left + across or x + width <= left or y >= top + down or y + height <= top
            within = left <= x and top < y - TITLE and x + width <= left + across and y + height <= top + down
            assert apart or within, f"{node['title']} crosses the border of a group"
            inside += within
        assert inside == (node["type"] not in NOTES), node["title"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_one_machine(name):
    text = json.dumps(read(name, "api"))
    assert not re.search(r'"(/|[A-Za-z]:\\\\|~)|cuda|\bcpu\b|provider', text)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_a_picture_and_knows_the_models(name):
    picture = WORKFLOWS / f"{name}.jpg"
    assert picture.read_bytes()[:3] == b"\xff\xd8\xff" and picture.stat().st_size < 150_000
    workflow = read(name, "ui")
    loaders = [
        node
        for node in workflow["nodes"]
        if node["type"] in ("CheckpointLoaderSimple", "ControlNetLoader", "LoadIDAdapter")
    ]
    assert len(loaders) == (0 if name.startswith("facelets_") else 3)
    for node in loaders:
        (model,) = node["properties"]["models"]
        assert node["widgets_values"][0].endswith(model["name"])
        assert model["url"].startswith("https://") and model["directory"]
        # The page goes by a node's own entry only where it is the widget's whole value.
        assert model in workflow["models"]
    assert any(node["type"] in NOTES for node in workflow["nodes"])
