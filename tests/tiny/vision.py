"""A CLIP vision model of a published one's width, with two layers and small pictures."""

import json
from pathlib import Path

from .weights import fill

PIXELS, PATCH = 56, 14
_WIDTHS = {"clip-h": (1280, 1024), "clip-g": (1664, 1280), "clip-l": (1024, 768)}


def config(name: str, pixels: int = PIXELS) -> dict:
    """Its configuration, as `transformers` and ComfyUI read it."""
    width, projection = _WIDTHS[name]
    return {
        "hidden_size": width,
        "projection_dim": projection,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": width // 64 if width % 64 == 0 else 16,
        "image_size": pixels,
        "patch_size": PATCH,
        "hidden_act": "quick_gelu" if name == "clip-l" else "gelu",
        "model_type": "clip_vision_model",
        "num_channels": 3,
    }


def clip_vision(folder: Path, name: str = "clip-h", seed: int = 0, pixels: int = PIXELS):
    """ComfyUI's CLIP_VISION with random weights; its configuration is written into `folder`."""
    from comfy.clip_vision import ClipVisionModel

    path = Path(folder) / f"{name}.json"
    path.write_text(json.dumps(config(name, pixels)))
    made = ClipVisionModel(str(path))
    fill(made.model, seed + 70)
    return made
