"""Make the workflow that the page opens from its API twin: workflows/api/NAME.json -> workflows/NAME.json.

    python scripts/ui_workflow.py [NAME ...]

The API file is the source. Sockets and widgets come from a real ComfyUI's /object_info, the layout from the graph:
columns by depth, so that links run from left to right. The same input gives the same file.
"""

import json
import sys
import tempfile
from pathlib import Path

from comfy_server import ComfyServer, find_comfyui, prepare_base_directory

ROOT = Path(__file__).resolve().parent.parent
API = ROOT / "workflows/api"
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# What the page shows for a missing file, by the file's name in the workflow.
HUB = "https://huggingface.co"
MODELS = {
    "sd_xl_base_1.0.safetensors": (
        f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
        "checkpoints",
    ),
    "instantid/ip-adapter.bin": (f"{HUB}/InstantX/InstantID/resolve/main/ip-adapter.bin", "instantid"),
    "instantid-controlnet.safetensors": (
        f"{HUB}/InstantX/InstantID/resolve/main/ControlNetModel/diffusion_pytorch_model.safetensors",
        "controlnet",
    ),
}
NOTES = {
    "instantid_basic": """## One person, in the pose of a photograph

1. **Photograph of the person**: one clear face; the largest one is taken.
2. **Prompt**: what the picture shows. The face comes from the photograph.
3. Queue. The preview shows which faces were found, the control image which pose is kept.

**Files**: an SDXL checkpoint, InstantID's `ip-adapter.bin` in `models/instantid`, its ControlNet in `models/controlnet`
under any name.

**Which faces an adapter takes**: InstantID's published adapter was trained on InsightFace's antelopev2. The embedded
encoder is another one, and Apply ID Adapter says so if the two don't belong together. *about* of Load ID Adapter names
the encoder that an adapter needs.

**Settings**: 1016 x 1016 rather than 1024 x 1024 (InstantID has seen watermarks at 1024), CFG 4 to 5, weight and
strength 0.8. For another pose connect another picture to Landmark Control.
"""
}
NODE_WIDTH, COLUMN, GAP, TITLE, SLOT, WIDGET, TEXT, PICTURE = 320, 400, 60, 40, 22, 26, 120, 320


def widgets_of(info):
    """Names of a node's widgets, in the page's order, with their options."""
    widgets = []
    for section in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(section, {}).items():
            options = options[0] if options else {}
            if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput"):
                widgets.append((name, options))
    return widgets


def sockets_of(info):
    """Names and types of a node's inputs that take a link and have no widget."""
    names = {name for name, _ in widgets_of(info)}
    return [
        (name, kind)
        for section in ("required", "optional")
        for name, (kind, *_) in info["input"].get(section, {}).items()
        if name not in names
    ]


def widget_values(node, info):
    values = []
    for name, options in widgets_of(info):
        values.append(node["inputs"][name])
        if options.get("control_after_generate"):
            values.append("fixed")
        if options.get("image_upload"):
            values.append("image")
    return values


def sources_of(node):
    """Ids of the nodes that a node is linked to."""
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]


def columns(graph):
    """The column of each node: its longest way from the start; what starts a way stands right before its first user."""
    found = {}

    def column(node_id):
        if node_id not in found:
            found[node_id] = max((column(source) + 1 for source in sources_of(graph[node_id])), default=0)
        return found[node_id]

    for node_id in graph:
        column(node_id)
    for node_id, node in graph.items():
        if not sources_of(node):
            found[node_id] = min(found[user] for user in graph if node_id in sources_of(graph[user])) - 1
    return found


def height_of(info):
    widgets = widgets_of(info)
    texts = sum(options.get("multiline", False) for _, options in widgets)
    shows = info["name"] in ("LoadImage", "SaveImage", "PreviewImage", "DetectFaces")
    slots = max(len(sockets_of(info)), len(info["output"]))
    return TITLE + SLOT * slots + WIDGET * (len(widgets) - texts) + TEXT * texts + PICTURE * shows


def layout(graph, infos):
    """[x, y, height] of each node: columns by depth, a column's nodes by the place of what they are linked to."""
    column_of, places = columns(graph), {}
    for column in range(max(column_of.values()) + 1):
        members = [node_id for node_id in graph if column_of[node_id] == column]

        def wanted(node_id):
            known = [places[source][1] for source in sources_of(graph[node_id]) if source in places]
            return sum(known) / len(known) if known else 0

        y = 0
        for node_id in sorted(members, key=lambda node_id: (wanted(node_id), int(node_id))):
            height = height_of(infos[graph[node_id]["class_type"]])
            places[node_id] = (COLUMN * column, y, height)
            y += height + GAP
    return places


def build(name, graph, infos):
    """The UI form of an API graph."""
    places = layout(graph, infos)
    nodes, links = {}, []
    for order, (node_id, node) in enumerate(graph.items()):
        info = infos[node["class_type"]]
        x, y, height = places[node_id]
        outputs = zip(info["output_name"], info["output"], strict=True)
        models = [MODELS[value] for value in node["inputs"].values() if isinstance(value, str) and value in MODELS]
        files = [value for value in node["inputs"].values() if isinstance(value, str) and value in MODELS]
        described = [
            {"name": Path(file).name, "url": url, "directory": folder}
            for file, (url, folder) in zip(files, models, strict=True)
        ]
        nodes[node_id] = {
            "id": int(node_id),
            "type": node["class_type"],
            "pos": [x, y],
            "size": [NODE_WIDTH, height],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": [{"name": socket, "type": kind, "link": None} for socket, kind in sockets_of(info)],
            "outputs": [{"name": output, "type": kind, "links": []} for output, kind in outputs],
            "title": node["_meta"]["title"],
            "properties": {"Node name for S&R": node["class_type"], **({"models": described} if described else {})},
            "widgets_values": widget_values(node, info),
        }
    for node_id, node in graph.items():
        for slot, socket in enumerate(nodes[node_id]["inputs"]):
            if isinstance(value := node["inputs"].get(socket["name"]), list):
                source, output = nodes[value[0]], value[1]
                links.append([len(links) + 1, source["id"], output, int(node_id), slot, socket["type"]])
                socket["link"] = len(links)
                source["outputs"][output]["links"].append(len(links))
    note = {
        "id": max(int(node_id) for node_id in graph) + 1,
        "type": "MarkdownNote",
        "pos": [-COLUMN - GAP, 0],
        "size": [COLUMN, 520],
        "flags": {},
        "order": len(graph),
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Read me",
        "properties": {},
        "widgets_values": [NOTES[name]],
    }
    return {
        "last_node_id": note["id"],
        "last_link_id": len(links),
        "nodes": [*nodes.values(), note],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def main(names):
    with tempfile.TemporaryDirectory(prefix="likeness-workflows-") as base:
        prepare_base_directory(base, {"likeness": ROOT})
        with ComfyServer(base, find_comfyui()) as server:
            for name in names:
                graph = json.loads((API / f"{name}.json").read_text())
                infos = {kind: server.object_info(kind) for kind in {node["class_type"] for node in graph.values()}}
                workflow = build(name, graph, infos)
                (ROOT / f"workflows/{name}.json").write_text(json.dumps(workflow, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or sorted(path.stem for path in API.glob("*.json")))
