"""Make the workflow that the page opens from its API twin: workflows/api/NAME.json -> workflows/NAME.json.

    python scripts/ui_workflow.py [NAME ...]

The API file is the source; its groups are in workflow_contents.py, its note is workflow_notes/NAME.md. Sockets and
widgets come from a real ComfyUI's /object_info, the layout from the graph: groups of nodes from left to right, inside a
group columns by depth. The same input gives the same file.
"""

import json
import sys
import tempfile
from pathlib import Path

from comfy_server import ComfyServer, find_comfyui, prepare_base_directory
from workflow_contents import FOUND_BY_ITSELF, GROUPS, MODELS

ROOT = Path(__file__).resolve().parent.parent
API = ROOT / "workflows/api"
NOTES = Path(__file__).resolve().parent / "workflow_notes"
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
BELOW = ("PreviewImage", "VAEDecode")  # stand under the node that they take from, not beside it
SHOWS = ("LoadImage", "SaveImage", "PreviewImage", "DetectFaces", "AssignFaces", "IDSimilarity", "CureMask")  # pictures
NODE_WIDTH, COLUMN, GAP, TITLE, SLOT, WIDGET, TEXT, PICTURE = 320, 400, 60, 40, 22, 26, 120, 320
EDITOR = 340  # of poses, on LandmarkControl
LINE, LETTERS = 19, 58  # of the note: a line's height, and letters in it
PADDING, HEADING = 30, 80  # of a group around its nodes; the heading leaves room for the first node's own title


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


def linked_widgets(node, info):
    """Names and types of a node's widgets whose value comes over a link; the page gives each a socket of its own."""
    kinds = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    return [(name, kinds[name][0]) for name, _ in widgets_of(info) if isinstance(node["inputs"][name], list)]


def widget_values(node, info):
    """The values of a node's widgets, as the page saves them; one that a link overrules keeps its default."""
    values = []
    for name, options in widgets_of(info):
        value = node["inputs"][name]
        values.append(options.get("default", "") if isinstance(value, list) else value)
        if options.get("control_after_generate"):
            values.append("fixed")
        if options.get("image_upload"):
            values.append("image")
    return values


def sources_of(node):
    """Ids of the nodes that a node is linked to."""
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)]


def columns(graph, members):
    """The column of each member of a group: its longest way inside the group, and a source right before its user."""
    found = {}

    def column(node_id):
        if node_id not in found:
            inside = [source for source in sources_of(graph[node_id]) if source in members]
            step = graph[node_id]["class_type"] not in BELOW
            found[node_id] = max((column(source) + step for source in inside), default=0)
        return found[node_id]

    for node_id in members:
        column(node_id)
    for node_id in members:
        users = [found[user] for user in members if node_id in sources_of(graph[user])]
        if users and found[node_id] == 0:
            found[node_id] = max(min(users) - 1, 0)
    return found


def height_of(info):
    widgets = widgets_of(info)
    texts = sum(options.get("multiline", False) for _, options in widgets)
    shows = info["name"] in SHOWS
    slots = max(len(sockets_of(info)), len(info["output"]))
    height = TITLE + SLOT * slots + WIDGET * (len(widgets) - texts) + TEXT * texts + PICTURE * shows
    return height + EDITOR * (info["name"] == "LandmarkControl")


def place_group(graph, infos, members, left, top, places):
    """Put [x, y, height] of each member into `places`, in a column by the place of what they are linked to.

    Returns the group's width and height.
    """
    column_of, bottom = columns(graph, members), top
    for column in range(max(column_of.values()) + 1):

        def wanted(node_id):
            known = [places[source][1] for source in sources_of(graph[node_id]) if source in places]
            return graph[node_id]["class_type"] in BELOW, sum(known) / max(len(known), 1), int(node_id)

        y = top + HEADING
        for node_id in sorted((node_id for node_id in members if column_of[node_id] == column), key=wanted):
            height = height_of(infos[graph[node_id]["class_type"]])
            places[node_id] = (left + PADDING + COLUMN * column, y, height)
            y += height + GAP
        bottom = max(bottom, y - GAP + PADDING)
    return COLUMN * max(column_of.values()) + NODE_WIDTH + 2 * PADDING, bottom - top


def layout(name, graph, infos):
    """[x, y, height] of each node, and the groups as the page has them."""
    places, groups, left = {}, [], 0
    for stack in GROUPS[name]:
        top, widest = 0, 0
        for title, names in stack.items():
            members = [
                node_id
                for node_id, node in graph.items()
                if node["class_type"] in names or node["_meta"]["title"] in names
            ]
            width, height = place_group(graph, infos, members, left, top, places)
            groups.append({"id": len(groups) + 1, "title": title, "bounding": [left, top, width, height]})
            groups[-1] |= {"color": "#3f789e", "font_size": 24, "flags": {}}
            top, widest = top + height + GAP, max(widest, width)
        left += widest + GAP
    return places, groups


def build(name, graph, infos):
    """The UI form of an API graph."""
    places, groups = layout(name, graph, infos)
    nodes, links = {}, []
    for order, (node_id, node) in enumerate(graph.items()):
        info = infos[node["class_type"]]
        x, y, height = places[node_id]
        outputs = zip(info["output_name"], info["output"], strict=True)
        described = [
            _described(value) for value in node["inputs"].values() if isinstance(value, str) and value in MODELS
        ]
        nodes[node_id] = {
            "id": int(node_id),
            "type": node["class_type"],
            "pos": [x, y],
            "size": [NODE_WIDTH, height],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": [
                *({"name": socket, "type": kind, "link": None} for socket, kind in sockets_of(info)),
                *(
                    {"name": name, "type": kind, "widget": {"name": name}, "link": None}
                    for name, kind in linked_widgets(node, info)
                ),
            ],
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
    text = (NOTES / f"{name}.md").read_text()
    note = {
        "id": max(int(node_id) for node_id in graph) + 1,
        "type": "MarkdownNote",
        "pos": [-COLUMN - GAP, 0],
        "size": [COLUMN, max(520, sum(LINE * (1 + len(line) // LETTERS) for line in text.splitlines()))],
        "flags": {},
        "order": len(graph),
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Read me",
        "properties": {},
        "widgets_values": [text],
    }
    return {
        "last_node_id": note["id"],
        "last_link_id": len(links),
        "nodes": [*nodes.values(), note],
        "links": links,
        "groups": groups,
        # Once more for the whole file: a node's own entry counts only where its name is the widget's whole value, which
        # `folder/file` of LoadIDAdapter never is.
        "models": _without_twins(
            [model for node in nodes.values() for model in node["properties"].get("models", [])]
            + [_described(file) for file in FOUND_BY_ITSELF.get(name, ())]
        ),
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _described(file):
    """A file as the page lists it where it is missing."""
    url, folder = MODELS[file]
    return {"name": Path(file).name, "url": url, "directory": folder}


def _without_twins(models):
    return [model for place, model in enumerate(models) if model not in models[:place]]


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
