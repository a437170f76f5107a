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
SHIPPED = ROOT / "embedded/facelets"  # what the nodes load
FINISHED = Path(TRIAL, "finished") if TRIAL else ROOT / "scripts/facelets/finished"  # what stages have left
BUILD = Path(TRIAL, "build") if TRIAL else ROOT / "build/facelets"
# An option of the programs that verify what the nodes load.
FINISHED_OPTION = {"action": "store_const", "dest": "folder", "const": FINISHED, "default": SHIPPED,
                   "help": "what the stages have left, instead of what ships"}  # fmt: skip
JUDGE = ROOT / "benchmarks/judge.safetensors"  # who judges what ships


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
