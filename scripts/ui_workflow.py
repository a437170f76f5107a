"""Make the workflow that the page opens from its API twin: workflows/api/NAME.json -> workflows/NAME.json.

    python scripts/ui_workflow.py [NAME ...]

The API file is the source. Sockets and widgets come from a real ComfyUI's /object_info, the layout from the graph:
groups of nodes from left to right, inside a group columns by depth. The same input gives the same file.
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
# The groups of each workflow from left to right; those of one column stand below each other. A node goes by its title
# or its class.
_PERSON = ("LoadImage", "LoadFaceEncoder", "DetectFaces", "EncodeIdentity", "LoadIDAdapter", "ApplyIDAdapter")
_POSE = ("ControlNetLoader", "LandmarkControl", "PreviewImage")
_PICTURE = ("KSampler", "VAEDecode", "SaveImage", "IDSimilarity")
GROUPS = {
    "instantid_basic": (
        {
            "Model, prompt and size": ("CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage"),
            "The person": _PERSON,
        },
        {"The pose": _POSE},
        {"The picture": _PICTURE},
    ),
    "facelets_portrait": (
        {"Model, prompts and size": ("LoadFacelets", "CLIPTextEncode", "EmptyLatentImage")},
        {"The person": ("Draw somebody", "Decode somebody", *_PERSON)},
        {"The pose": _POSE},
        {"The picture": ("Draw the same person", "Decode", "SaveImage", "IDSimilarity")},
    ),
    "facelets_cure": (
        {"Model, prompts and size": ("LoadFacelets", "PrimitiveStringMultiline", "CLIPTextEncode", "EmptyLatentImage")},
        {"The person": ("Draw somebody", "Decode somebody", *_PERSON)},
        {"The pose": ("LandmarkControl", "Control image"), "The cure": ("AttributeCure",)},
        {
            "The picture": (
                *("Draw with the cure", "Decode with the cure", "Save with the cure", "How alike with the cure"),
                *("CureMask", "Mask over the picture"),
            ),
            "The picture without the cure": (
                *("Draw without the cure", "Decode without the cure"),
                *("Save without the cure", "How alike without the cure"),
            ),
        },
    ),
}
BELOW = ("PreviewImage", "VAEDecode")  # stand under the node that they take from, not beside it
NOTES = {
    "instantid_basic": """## One person, in the pose of a photograph

1. **Photograph of the person**: one clear face; the largest one is taken.
2. **Prompt**: what the picture shows. The face comes from the photograph.
3. Queue. The preview shows which faces were found, the control image which pose is kept.

**Files**: an SDXL checkpoint, InsightFace's antelopev2, InstantID's `ip-adapter.bin` in `models/instantid`, and in
`models/controlnet` its ControlNet, as `instantid-controlnet.safetensors`, or under any other name: choose it in the
node.

**Which faces an adapter takes**: InstantID's published adapter takes faces from InsightFace's antelopev2. Put that pack
into `models/insightface/models/antelopev2` and nothing has to be installed for it. *about* of Load ID Adapter names the
encoder that a file needs; with another one Apply ID Adapter stops and says so in one sentence.

**Settings**: 1016 x 1016 rather than 1024 x 1024 (InstantID has seen watermarks at 1024), CFG 4 to 5, weight and
strength 0.8. For another pose connect another picture to Landmark Control.
""",
    "facelets_portrait": """## The same person again, with nothing to download

1. **Somebody** is drawn from the first prompt. Another seed in *Draw somebody*: another person.
2. The face is found and becomes the **identity**.
3. **The same person** is drawn with the second prompt, in the pose that *Landmark Control* sets: turn, move, scale it.
4. **How alike** compares the two.

Queue it: it takes seconds, without a graphics card too. Facelets is a tiny model that ships with Likeness and draws
cartoon heads of 128 x 128 pixels. It is for trying out graphs.

**For real pictures** replace *Load Facelets* by a checkpoint loader, Load ID Adapter, Load ControlNet Model and Load
Face Encoder, *Draw somebody* by Load Image with a photograph, and the size by your model's.

**Settings**: weight 0.6, strength 0.8, CFG 3, 20 steps. A higher weight is more of the person and less of the prompt.
""",
    "facelets_cure": """## A prompt that is heeded again, with nothing to download

1. **Somebody** with short black hair and a smile is drawn, and becomes the **identity**.
2. The **prompt** says otherwise: long red hair, sunglasses. One text goes to the text encoder and to *Attribute Cure*.
3. The same seed is drawn twice. **Without the cure** the identity is stronger than the words: a hat that nobody asked
   for, no glasses. **With the cure** the words are back.
4. **Mask over the picture**: green is where the cure worked. **How alike** compares both with the person.

Queue it: it takes seconds, without a graphics card too. Facelets is a tiny model that ships with Likeness and draws
cartoon heads of 128 x 128 pixels. It is for trying out graphs.

**Try**: other words, and another seed in both samplers; not every seed is as clear as this one. *Attribute Cure* has no
words in **attributes**, so it finds them all; name some of them there and only these are cured.

**For real pictures** replace *Load Facelets* by a checkpoint loader, Load ID Adapter, Load ControlNet Model and Load
Face Encoder, *Draw somebody* by Load Image with a photograph, and the size by your model's. *Attribute Cure* stays.

**Settings**: weight 0.8, strength 1 in the cure, CFG 3, 20 steps. The cure takes about twice the sampling time.
""",
}
NODE_WIDTH, COLUMN, GAP, TITLE, SLOT, WIDGET, TEXT, PICTURE = 320, 400, 60, 40, 22, 26, 120, 320
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
    shows = info["name"] in ("LoadImage", "SaveImage", "PreviewImage", "DetectFaces")
    slots = max(len(sockets_of(info)), len(info["output"]))
    return TITLE + SLOT * slots + WIDGET * (len(widgets) - texts) + TEXT * texts + PICTURE * shows


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
        "groups": groups,
        # Once more for the whole file: a node's own entry counts only where its name is the widget's whole value, which
        # `folder/file` of LoadIDAdapter never is.
        "models": [model for node in nodes.values() for model in node["properties"].get("models", [])],
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
