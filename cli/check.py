"""`check`: what a workflow needs, what of it a server has, and where the rest goes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from . import graph as graphs
from .problems import shown
from .server import Server

_ENDINGS = (".safetensors", ".sft", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npy", ".gguf")
# The folder in models/ that ComfyUI's own loaders look into, by the name of the input.
_FOLDERS = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "vae_name": "vae",
    "control_net_name": "controlnet",
    "lora_name": "loras",
    "lora": "loras",
    "direction": "likeness_directions",
    "style_model_name": "style_models",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
}
_CLIP = {"CLIPVisionLoader": "clip_vision", "CLIPLoader": "text_encoders"}  # both call their input clip_name
_FILES = {"LoadImage": "image", "LoadImageMask": "image", "LoadIdentity": "identity_file"}
_PACK = "insightface/"


@dataclass
class Need:
    """A file that a workflow needs. `folder`: where it goes, below ComfyUI's folder; None: nobody knows. `there`:
    whether the server has it; None: nobody was asked."""

    name: str
    node: str
    folder: str | None
    url: str | None = None
    there: bool | None = None


def check(path: Path, server: Server | None, twin: Path | None = None) -> dict:
    """The node classes, model files and input files of a workflow; {"nodes", "models", "inputs", "missing"}.

    Without a server it is known from the file alone, and nothing is said to be missing. `twin`: the workflow in the
    page's format, whose addresses of models are passed on; None: `NAME.json` in the folder above workflows/api.
    """
    graph = graphs.load(path)
    published = _published(twin or path.parent.parent / path.name)
    infos = None if server is None else server.infos(graph)
    nodes = {node["class_type"]: None if infos is None else node["class_type"] in infos for node in graph.values()}
    models, inputs = [], []
    for node_id, key, value in _texts(graph):
        need = _need(graph, node_id, key, value, published)
        if need is None:
            continue
        is_file = need.folder == "input"
        if infos is not None:
            need.there = _is_there(server, infos.get(graph[node_id]["class_type"], {}), key, value, is_file)
        (inputs if is_file else models).append(need)
    for name, (url, folder) in published.items():
        if not any(_same(need.name, name) for need in models):
            there = None if server is None else server.has_model(folder, name)
            models.append(Need(name, "what the pack looks for by itself", f"models/{folder}", url, there))
    lists = {"models": [asdict(need) for need in models], "inputs": [asdict(need) for need in inputs]}
    return {"nodes": nodes, **lists, "missing": _missing(nodes, models, inputs)}


def _texts(graph):
    for node_id, node in graph.items():
        for key, value in node["inputs"].items():
            if isinstance(value, str):
                yield node_id, key, value


def _need(graph, node_id, key, value, published):
    kind, where = graph[node_id]["class_type"], graphs.named(graph, node_id)
    if _FILES.get(kind) == key:
        return Need(value, where, "input")
    if value.startswith(_PACK):
        return Need(value, where, f"models/insightface/models/{value.removeprefix(_PACK)}")
    url, folder = next((known for name, known in published.items() if _same(value, name)), (None, None))
    if folder is None and not value.lower().endswith(_ENDINGS):
        return None
    folder = folder or _FOLDERS.get(key) or (_CLIP.get(kind) if key == "clip_name" else None)
    if folder is None and kind in ("LoadIDAdapter", "LoadFaceEncoder"):
        folder = value.rpartition("/")[0]
    return Need(value, where, f"models/{folder}" if folder else None, url)


def _same(value, name):
    """Whether an input's value is a file of this name; LoadIDAdapter and LoadFaceEncoder put its folder before it."""
    return value.rpartition("/")[2] == name


def _is_there(server, info, key, value, is_file):
    """True or False as the server's own list of choices, or its input folder, says; None when it has no such list."""
    kind, options = graphs.inputs_of(info).get(key, (None, {}))
    choices = graphs.choices_of(kind, options)
    if choices is None:
        return None
    # pictures may lie in folders below input, which the list leaves out
    return value in choices or (is_file and server.has_input(value))


def _published(path):
    """name -> (address, folder) of the models that a workflow of the page names; {} where there is no such file."""
    try:
        page = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(page, dict) or not isinstance(page.get("nodes"), list):
        return {}
    models = [page.get("models")]
    for node in page["nodes"]:
        properties = node.get("properties") if isinstance(node, dict) else None
        models.append(properties.get("models") if isinstance(properties, dict) else None)
    found = {}
    for one in (one for listed in models if isinstance(listed, list) for one in listed if isinstance(one, dict)):
        name, url, folder = (one.get(key) for key in ("name", "url", "directory"))
        plain = all(isinstance(text, str) and text == shown(text) for text in (name, url, folder))
        if plain and url.startswith(("https://", "http://")):
            found[name] = url, folder
    return found


def _missing(nodes, models, inputs):
    """A sentence for everything that a server was asked for and does not have."""
    lines = [
        f"The server has no node class {shown(kind, 80)}; install the pack that brings it."
        for kind, there in nodes.items()
        if there is False
    ]
    for need in (need for need in (*models, *inputs) if need.there is False):
        where = f"put it into {need.folder}" if need.folder else "its loader's tooltip says where it goes"
        source = f", from {need.url}" if need.url else ""
        lines.append(f"{shown(need.name, 120)} is missing, for {need.node}; {where}{source}.")
    return lines
