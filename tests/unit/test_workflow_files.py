"""The example workflows as files: the page's form and the API's form are one graph, and hold nothing of one machine."""

import json
import re
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in (WORKFLOWS / "api").glob("*.json"))
NOTES = ("Note", "MarkdownNote")
# What the page adds to the values of a node's widgets: seeds say what happens next, pictures have an upload button.
PAGE_ONLY = {"KSampler": {1}, "LoadImage": {1}, "SampleIdentity": {1}}
# The widgets that name a model's file, by class.
LOADERS = {
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "CLIPLoader": ("clip_name",),
    "VAELoader": ("vae_name",),
    "CLIPVisionLoader": ("clip_name",),
    "ControlNetLoader": ("control_net_name",),
    "LoadIDAdapter": ("adapter", "router"),
    "LoadFaceEncoder": ("encoder",),
}
NO_FILE = {"none", "embedded"}
# Published elsewhere than on Hugging Face, or as a folder of files: the page can't fetch them, the note says how.
FETCHED_BY_HAND = {
    "insightface/antelopev2",
    "insightface/buffalo_l",
    "face_encoders/recognition_arcface_ir_se50.pth",
    "likeness/wplus_adapter.bin",
    "face_encoders/e4e_ffhq_encode.pt",
    "likeness/adapter_final.pt",
    "likeness/adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt",
    "face_encoders/ms1mv2_model_TransFace_S.pt",
}
FOUND_BY_ITSELF = {
    "pulid_sdxl": {"EVA02_CLIP_L_336_psz14_s6B.pt"},
    "pulid_flux": {"EVA02_CLIP_L_336_psz14_s6B.pt"},
    "consistentid": {"face_parsing.pth"},
    "withanyone_two_people": {"siglip-base-patch16-256-i18n.safetensors"},
}
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
    notes = WORKFLOWS.parent / "scripts/workflow_notes"
    assert {path.stem for path in notes.glob("*.md")} == set(NAMES)
    for name in NAMES:
        [note] = [node for node in read(name, "ui")["nodes"] if node["type"] in NOTES]
        assert note["widgets_values"] == [(notes / f"{name}.md").read_text()], "run scripts/ui_workflow.py"


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
    titles = {group["title"] for group in workflow["groups"]}
    assert titles & {"The person", "The people"} and titles & {"The picture", "The pictures"}
    assert ("The pose" in titles) == any(node["type"] == "LandmarkControl" for node in workflow["nodes"])
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
def test_the_page_has_a_picture(name):
    picture = WORKFLOWS / f"{name}.jpg"
    assert picture.read_bytes()[:3] == b"\xff\xd8\xff" and picture.stat().st_size < 150_000


def files_of(graph):
    """{node id: the model files that its widgets name}."""
    named = {
        key: [node["inputs"][widget] for widget in LOADERS.get(node["class_type"], ())] for key, node in graph.items()
    }
    return {key: [file for file in files if file not in NO_FILE] for key, files in named.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_knows_where_every_file_comes_from(name):
    files, workflow = files_of(read(name, "api")), read(name, "ui")
    listed = []
    for node in workflow["nodes"]:
        models = node["properties"].get("models", [])
        wanted = [file for file in files.get(str(node["id"]), []) if file not in FETCHED_BY_HAND]
        assert [model["name"] for model in models] == [file.rpartition("/")[2] for file in wanted]
        # The page goes by a node's own entry only where it is the widget's whole value.
        assert all(model in workflow["models"] for model in models)
        for file, model in zip(wanted, models, strict=True):
            folder = file.rpartition("/")[0]
            assert model["directory"] == folder if folder else model["directory"]
        listed += models
    beside = {model["name"] for model in workflow["models"] if model not in listed}
    assert beside == FOUND_BY_ITSELF.get(name, set())
    for model in workflow["models"]:
        assert model["url"].startswith("https://huggingface.co/") and "/resolve/main/" in model["url"]
    assert bool(listed) != name.startswith("facelets_")


@pytest.mark.parametrize("name", NAMES)
def test_the_note_names_every_file(name):
    [note] = [node["widgets_values"][0] for node in read(name, "ui")["nodes"] if node["type"] in NOTES]
    files = {file.rpartition("/")[2] for files in files_of(read(name, "api")).values() for file in files}
    directions = {
        node["inputs"]["direction"] for node in read(name, "api").values() if node["class_type"] == "EditIdentity"
    }
    if name != "instantid_basic":  # asks for any SDXL checkpoint
        assert not [file for file in files | directions | FOUND_BY_ITSELF.get(name, set()) if file not in note]
    assert "**Settings**" in note
