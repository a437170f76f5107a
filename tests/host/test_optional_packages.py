"""The whole example runs on a ComfyUI that has none of the packages whose installation fails so often."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

from comfy_process import ROOT

BLOCKED = ("insightface", "onnxruntime", "onnx", "diffusers", "cv2", "facenet_pytorch", "mediapipe", "skimage")

SCRIPT = """
    import json, shutil, sys
    from importlib.machinery import PathFinder

    class WithoutThem(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return None if name.partition(".")[0] in {blocked} else super().find_spec(name, path, target)

    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutThem
    try:
        import cv2
        sys.exit("OpenCV is still there")
    except ModuleNotFoundError:
        pass
    from comfy_process import TINY_MODELS, HostPack, start_nodes
    base = start_nodes()
    HostPack(base / "custom_nodes" / TINY_MODELS.name)
    pack = HostPack(base / "custom_nodes/likeness")
    assert pack.loaded
    from tiny.files import write_files
    write_files(base / "models")
    shutil.copy({photograph!r}, base / "input/person.jpg")
    graph = json.load(open({graph!r}))
    graph["1"]["inputs"]["ckpt_name"] = "tiny_sdxl.safetensors"
    graph["8"]["inputs"]["adapter"] = "instantid/tiny_instantid.bin"
    graph["10"]["inputs"]["control_net_name"] = "tiny_sdxl_controlnet.safetensors"
    graph["11"]["inputs"].update(width=128, height=128)
    graph["13"]["inputs"]["steps"] = 1
    outputs = pack.run_graph(graph).outputs
    print("faces:", len(outputs["6"]["faces"][0]["faces"]), "pictures:", len(outputs["15"]["images"]))
"""


def test_the_example_runs_without_any_optional_package():
    package = Path(importlib.util.find_spec("insightface").submodule_search_locations[0])
    script = SCRIPT.format(
        blocked=set(BLOCKED),
        photograph=str(package / "data/images/t1.jpg"),
        graph=str(ROOT / "workflows/api/instantid_basic.json"),
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT / "tests", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "faces: 8 pictures: 1" in done.stdout
