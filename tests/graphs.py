"""Graphs in API format that several test folders run."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def group_photograph() -> Path:
    """The photograph of six people that the insightface wheel carries; the package itself is not imported."""
    package = importlib.util.find_spec("insightface").submodule_search_locations[0]
    return Path(package) / "data/images/t1.jpg"


def example_on_tiny_models(size: int, steps: int, adapter: str = "tiny_instantid.safetensors") -> dict:
    """workflows/api/instantid_basic.json with the files of tests/tiny; its LoadImage still asks for person.jpg."""
    graph = json.loads((ROOT / "workflows/api/instantid_basic.json").read_text())
    graph["1"]["inputs"]["ckpt_name"] = "tiny_sdxl.safetensors"
    # The tiny adapter takes the embedded encoder's faces; the tiny models draw nobody, and nobody is looked for long.
    graph[encoder_of(graph)]["inputs"].update(encoder="embedded", search="plain")
    graph["8"]["inputs"]["adapter"] = f"instantid/{adapter}"
    graph["10"]["inputs"]["control_net_name"] = "tiny_sdxl_controlnet.safetensors"
    graph["11"]["inputs"].update(width=size, height=size)
    graph["13"]["inputs"]["steps"] = steps
    return graph


def encoder_of(graph: dict) -> str:
    """The id of the node that loads the face encoder."""
    return next(key for key, node in graph.items() if node["class_type"] == "LoadFaceEncoder")


def text_to_image(checkpoint, text="a portrait of a woman", seed=1, steps=3, size=128):
    """Checkpoint, two prompts, KSampler, decode, save: node ids "model", "positive", ... "image", "save"."""
    return {
        "model": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": checkpoint}},
        "positive": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": text}},
        "negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["model", 1], "text": "blurry"}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["model", 0],
                "positive": ["positive", 0],
                "negative": ["negative", 0],
                "latent_image": ["latent", 0],
                "seed": seed,
                "steps": steps,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "image": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["model", 2]}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["image", 0], "filename_prefix": "tiny"}},
    }


def with_control_net(graph, strength):
    """`text_to_image` of SDXL with the tiny ControlNet looking at a white picture."""
    control = {
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "control_net": ["control_net", 0],
        "image": ["hint", 0],
        "strength": strength,
        "start_percent": 0.0,
        "end_percent": 1.0,
    }
    white = {"width": 128, "height": 128, "batch_size": 1, "color": 0xFFFFFF}
    graph["hint"] = {"class_type": "EmptyImage", "inputs": white}
    loader_inputs = {"control_net_name": "tiny_sdxl_controlnet.safetensors"}
    graph["control_net"] = {"class_type": "ControlNetLoader", "inputs": loader_inputs}
    graph["control"] = {"class_type": "ControlNetApplyAdvanced", "inputs": control}
    graph["sample"]["inputs"] |= {"positive": ["control", 0], "negative": ["control", 1]}
    return graph
