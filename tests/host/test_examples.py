"""Every example workflow runs as it is in the repository, but for small files, small pictures and few steps."""

import json

import example_files
import pytest
from comfy_process import ROOT
from node_cases import Given

API = ROOT / "workflows/api"
NAMES = sorted(path.stem for path in API.glob("*.json") if not path.stem.startswith("facelets_"))
LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
SIDE, STEPS = 64, 1  # of the picture's shorter side, in pixels
PEOPLE = {"arc2face_new_people": 2}  # pictures that come out, where it is not one
PHOTOGRAPHS = {"faceid_portrait": 3}  # of the one person


@pytest.fixture(scope="module")
def loaders(pack, tiny_files, tmp_path_factory):
    """The files below ComfyUI's folders, gone again afterwards; what loaders give for which there is no small file."""
    models = pack.base / "models"
    known = {pack.base / "input", *models.glob("*"), *models.glob("insightface/models/*")}
    written = example_files.write(pack.base)
    yield example_files.loaders(tmp_path_factory.mktemp("clip"))
    for path in written:
        path.unlink()
    for folder in {path.parent for path in written} - known:
        folder.rmdir()


@pytest.fixture
def small(pack, loaders):
    """An example's graph by name, small."""
    pack.nodes["Given"], Given.values = Given, {}

    def small(name):
        graph = json.loads((API / f"{name}.json").read_text())
        for key, node in graph.items():
            inputs = node["inputs"]
            made = next((loaders[pair] for pair in loaders if pair == (node["class_type"], _file(inputs))), None)
            if made is not None:
                Given.values[key] = made()
                graph[key] = {"class_type": "Given", "inputs": {"key": key}}
            elif node["class_type"] in LATENTS:
                scale = min(inputs["width"], inputs["height"]) / SIDE
                inputs |= {side: int(inputs[side] / scale) // 8 * 8 for side in ("width", "height")}
            elif node["class_type"] == "KSampler":
                inputs["steps"] = STEPS
            elif node["class_type"] == "ImageScale":
                inputs |= {side: inputs[side] // 2 for side in ("width", "height")}
            elif node["class_type"] == "LoadFaceEncoder":
                inputs["search"] = "plain"  # or pictures of random weights, without a face, are looked through for long
            elif node["class_type"] == "SampleIdentity":
                inputs["max_similarity"] = 1.0  # an encoder with random weights finds everybody alike
        return graph

    yield small
    del pack.nodes["Given"]
    Given.values = {}


def _file(inputs):
    names = "clip_name", "unet_name", "encoder", "ckpt_name", "control_net_name"
    return next((inputs[name] for name in names if name in inputs), None)


def only(graph, kind):
    """The ids of the nodes of a class."""
    return [key for key, node in graph.items() if node["class_type"] == kind]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_runs(pack, small, name):
    graph = small(name)
    result = pack.run_graph(graph)
    [decode] = only(graph, "VAEDecode")
    [latent] = [key for kind in LATENTS for key in only(graph, kind)]
    pictures = result.values(decode)[0]
    pictures = pictures if isinstance(pictures, list) else [pictures]
    size = graph[latent]["inputs"]
    assert len(pictures) == PEOPLE.get(name, 1)
    for picture in pictures:
        assert picture.shape == (1, size["height"], size["width"], 3)
        assert picture.isfinite().all() and picture.std() > 0.01
    if name in PHOTOGRAPHS:
        [identity] = only(graph, "EncodeIdentity")
        assert len(result.values(identity)[0].vectors) == PHOTOGRAPHS[name]
    [loader] = only(graph, "LoadIDAdapter") or [None]
    if loader is not None:
        spec = result.values(loader)[0].spec
        weights = {graph[key]["inputs"]["weight"] for key in only(graph, "ApplyIDAdapter")}
        assert weights == {spec.default_weight}


def test_examples_use_nothing_that_comfyui_gives_up(pack):
    used = {node["class_type"] for path in API.glob("*.json") for node in json.loads(path.read_text()).values()}
    assert len(used) > 30 and [kind for kind in used if getattr(pack.nodes[kind], "DEPRECATED", False)] == []
