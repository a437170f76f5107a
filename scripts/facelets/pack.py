"""The pack and ComfyUI in a training process, without a server."""

import importlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A folder in which everything is trained in next to no steps, so that what is finished stays as it is: `train.py` makes
# it for --trial and tells the processes of the training so.
TRIAL = os.environ.get("FACELETS_TRIAL")
SHIPPED = Path(TRIAL, "finished") if TRIAL else ROOT / "embedded/facelets"  # what the nodes load
# What else the stages leave: what later stages need, and the accounts of all.
FINISHED = Path(TRIAL, "finished") if TRIAL else ROOT / "scripts/facelets/finished"
BUILD = Path(TRIAL, "build") if TRIAL else ROOT / "build/facelets"
JUDGE = Path(TRIAL, "judge.safetensors") if TRIAL else ROOT / "benchmarks/judge.safetensors"
SHIPPING = ("unet", "controlnet", "ip_adapter", "flux", "flux_controlnet", "pulid", "text_encoder", "vae", "faces")
FIRST = "first_"  # begins the names of files that only the next stage reads


def file_of(name: str) -> Path:
    """Where a stage leaves the file of this name."""
    return JUDGE if name == JUDGE.stem else (SHIPPED if name in SHIPPING else FINISHED) / f"{name}.safetensors"


def sized(usual: int, trial: int) -> int:
    """How many there are of something: `trial` in a trial."""
    return trial if TRIAL else usual


@cache
def start():
    """Make ComfyUI importable on the CPU and load the pack as the package `likeness`."""
    sys.path.insert(0, str(ROOT / "scripts"))
    comfyui = importlib.import_module("comfy_server").find_comfyui()
    base = Path(tempfile.mkdtemp(prefix="facelets-"))
    importlib.import_module("comfy_in_process").make_importable(comfyui, base, ["--use-pytorch-cross-attention"])
    if "likeness" in sys.modules:  # of the tests
        return
    spec = importlib.util.spec_from_file_location("likeness", ROOT / "__init__.py",
                                                  submodule_search_locations=[str(ROOT)])  # fmt: skip
    sys.modules["likeness"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["likeness"])


def module(name: str):
    """A module of the pack, such as "core.faces.align.transforms", or ComfyUI's if the name starts with "comfy."."""
    start()
    return importlib.import_module(name if name.startswith("comfy.") else f"likeness.{name}")
