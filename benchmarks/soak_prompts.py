"""What the soak test queues: good prompts, each to be drawn again and again, and bad ones, each with its own sentence.

All of them run on Facelets and the embedded face encoder, in pictures of 128 pixels and few steps.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

API = Path(__file__).resolve().parent.parent / "workflows/api"
POSE = {"size": [128, 128], "faces": [[[46, 56], [80, 54], [62, 72], [50, 90], [76, 88]]]}
PERSON = "soak person.safetensors"
DEAR = ("two pictures, not square", "two people", "cure", "cure, shared attention", "cure, abstract pass")
ENCODER = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5, "search": "auto", "min_size": 0}


@dataclass(frozen=True)
class Bad:
    """A prompt that ends with `words` in its first line: "refused" at once, "failed" in a node or "interrupted"."""

    graph: dict
    ends: str
    words: str


def prepare(base: Path, photograph: Path, face: tuple):
    """Put what the prompts read into the folders of a ComfyUI: a cut-out of a photograph with the box of one face
    (xyxy, pixels), a grey picture, damaged adapters."""
    left, top, right, bottom = face
    margin = (right - left) // 2
    cut = Image.open(photograph).convert("RGB").crop((left - margin, top - margin, right + margin, bottom + margin))
    cut.resize((192, 256)).save(base / "input/soak face.png")
    Image.new("RGB", (128, 128), "grey").save(base / "input/soak grey.png")
    folder = base / "models/likeness"
    folder.mkdir(parents=True, exist_ok=True)
    whole = (API.parents[1] / "embedded/facelets/ip_adapter.safetensors").read_bytes()
    (folder / "soak cut.safetensors").write_bytes(whole[:-1000])
    (folder / "soak page.bin").write_text("<html>404</html>")
    (folder / "soak whole.safetensors").write_bytes(whole)


def good(saved: str) -> dict[str, dict]:
    """Name -> graph in API format. `saved`: the combo value of an identity of Facelets' own encoder."""
    return _apart({
        "portrait": _portrait(),
        "another seed": _portrait({"12.seed": 2, "5.seed": 7}),
        "another sampler": _portrait({"12.sampler_name": "dpmpp_2m", "12.scheduler": "karras", "10.weight": 0.9}),
        "ancestral": _portrait({"12.sampler_name": "euler_ancestral", "12.seed": 3}),
        "no guidance": _portrait({"12.cfg": 1.0, "10.end_at": 0.7}),
        "two pictures, not square": _portrait({"4.batch_size": 2, "4.height": 160, "7.index": "all"}),
        "pose from text": _portrait({"11.landmarks": json.dumps(POSE)}),
        "everything off": _portrait({"10.weight": 0.0, "11.strength": 0.0}),
        "photograph": _photograph(),
        "saved person": _saved(saved),
        "two people": _two_people(),
        "cure": _cure(),
        "cure, shared attention": _cure({"14.mode": "both", "14.trajectory": "separate"}),
        "cure, abstract pass": _cure({"14.abstract_pass": 0.5, "14.strength": 0.8}),
    })  # fmt: skip


def saving() -> dict:
    """A graph that saves the person of the portrait."""
    save = {"identity": ["8", 0], "filename_prefix": PERSON.removesuffix(".safetensors")}
    graph = {key: node for key, node in _portrait().items() if key in set("1234568")}
    return {**graph, "saved": _node("SaveIdentity", **save)}


def bad() -> dict[str, Bad]:
    """Name -> prompt; every fifth of them is refused before it is queued."""
    grey = {"photo": _node("LoadImage", image="soak grey.png")}
    no_face = {**_portrait({"8.image": ["photo", 0]}), **grey}
    deep = _portrait({"11.landmarks": "[" * 100_000})
    huge = _portrait({"11.landmarks": json.dumps(POSE).replace("46", "1e999")})
    unknown = _changed(_photograph(), {"encoder.encoder": "none"})
    unlike = {**_portrait({"16.face_encoder": ["other", 0]}), "other": _node("LoadFaceEncoder", **ENCODER)}
    outside = saving()
    outside["saved"] = _node("SaveIdentity", identity=["8", 0], filename_prefix="../escaped")
    return {
        "no face": Bad(no_face, "failed", "No face was found in the image (128x128 pixels)"),
        "unknown file": Bad(_adapter("likeness/none.bin"), "refused", "The adapter 'likeness/none.bin' was not found"),
        "deep landmarks": Bad(deep, "failed", "Landmarks are nested too deeply"),
        "cut file": Bad(_adapter("likeness/soak cut.safetensors"), "failed", "is damaged or cut off"),
        "stopped": Bad(_portrait({"12.steps": 2000, "12.seed": 99}), "interrupted", "Interrupted in KSampler"),
        "endless landmarks": Bad(huge, "failed", "expected two finite numbers"),
        "unknown choice": Bad(unknown, "refused", "encoder is 'none', but must be one of: embedded"),
        "another encoder": Bad(unlike, "failed", "facelets-128"),
        "web page": Bad(_adapter("likeness/soak page.bin"), "failed", "is a web page"),
        "outside": Bad(outside, "failed", "must be a name inside ComfyUI's output folder"),
    }


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def _apart(graphs):
    """No two of them draw the same somebody, so that ComfyUI's cache keeps nothing of one for the next."""
    for number, graph in enumerate(graphs.values(), 1):
        if "5" in graph:
            graph["5"]["inputs"]["cfg"] = round(3 + number / 100, 2)
    return graphs


def _changed(graph, changes):
    for target, value in changes.items():
        node, _, name = target.partition(".")
        graph[node]["inputs"][name] = value
    return graph


def _portrait(changes=None):
    graph = json.loads((API / "facelets_portrait.json").read_text())
    return _changed(graph, {"5.steps": 3, "12.steps": 2, **(changes or {})})


def _cure(changes=None):
    graph = json.loads((API / "facelets_cure.json").read_text())
    return _changed(graph, {"5.steps": 3, "15.steps": 1, "19.steps": 2, **(changes or {})})


def _adapter(name):
    inputs = {"lora": "in the adapter's file", "faceid_plus": "auto", "faces_512": "auto", "router": "none"}
    load = _node("LoadIDAdapter", adapter=name, **inputs)
    return {"load": load, "show": _node("PreviewAny", source=["load", 1])}


def _saved(saved):
    """The saved person by an adapter from a file in place of the drawn person by Facelets' own."""
    graph = _portrait({"10.identity": ["person", 0], "10.adapter": ["adapter", 0], "16.identity": ["person", 0]})
    graph["adapter"] = _adapter("likeness/soak whole.safetensors")["load"]
    return {**graph, "person": _node("LoadIdentity", identity_file=saved)}


def _photograph():
    """The embedded encoder on a real face: found, described, compared with itself, and turned into new people."""
    common = {"face_encoder": ["encoder", 0], "image": ["photo", 0], "on_no_face": "error"}
    masks = {"mask_from": "landmarks", "soft_edge": 0.2}
    return {
        "encoder": _node("LoadFaceEncoder", **ENCODER),
        "photo": _node("LoadImage", image="soak face.png"),
        "faces": _node("DetectFaces", order="largest", index="all", details=True, **masks, **common),
        "person": _node("EncodeIdentity", combine="robust", face_index="0", **common),
        "like": _node("IDSimilarity", identity=["person", 0], threshold=0.9, centralise=False, **common),
        "saved": _node("SaveIdentity", identity=["person", 0], filename_prefix="soak photograph"),
        "mask": _node("MaskToImage", mask=["faces", 2]),
        "shown": _node("SaveImage", images=["mask", 0], filename_prefix="soak mask"),
    }


def _two_people():
    """Three drawn people: two of them side by side, each in their own half, and a new one made of all three."""
    graph = _portrait({"10.attn_mask": ["who", 1], "12.model": ["second", 0], "11.positive": ["second", 1]})
    graph = _changed(graph, {"11.negative": ["second", 2], "16.identity": ["8", 0]})
    for number, seed in (("b", 7), ("c", 9)):
        graph[f"draw {number}"] = _node("KSampler", **{**graph["5"]["inputs"], "seed": seed})
        graph[f"see {number}"] = _node("VAEDecode", samples=[f"draw {number}", 0], vae=["1", 2])
        graph[f"person {number}"] = _node("EncodeIdentity", **{**graph["8"]["inputs"], "image": [f"see {number}", 0]})
    pair = {"direction": "right", "match_image_size": True, "spacing_width": 0, "spacing_color": "white"}
    graph["pair"] = _node("ImageStitch", image1=["6", 0], image2=["see b", 0], **pair)
    who = {"by": "similarity", "min_similarity": 0.0, "on_no_face": "passthrough", "mask_from": "box", "soft_edge": 0.2}
    people = {"identity_1": ["8", 0], "identity_2": ["person b", 0]}
    graph["who"] = _node("AssignFaces", face_encoder=["1", 5], image=["pair", 0], **who, **people)
    second = {"model": ["10", 0], "positive": ["10", 1], "negative": ["10", 2], "identity": ["new", 0]}
    graph["all"] = _node("ImageBatch", image1=["6", 0], image2=["see b", 0])
    graph["all three"] = _node("ImageBatch", image1=["all", 0], image2=["see c", 0])
    graph["set"] = _node("EncodeIdentity", **{**graph["8"]["inputs"], "image": ["all three", 0], "face_index": "all"})
    graph["new"] = _node("SampleIdentity", identities=["set", 0], seed=5, max_similarity=1.0, count=1)
    graph["second"] = _node("ApplyIDAdapter", **{**graph["10"]["inputs"], **second, "attn_mask": ["who", 2]})
    return graph
