"""The whole example runs on a ComfyUI that has none of the packages whose installation fails so often."""

import subprocess
import sys
import textwrap

from comfy_process import ROOT
from graphs import group_photograph

BLOCKED = (
    "insightface",
    "onnxruntime",
    "onnx",
    "diffusers",
    "cv2",
    "facenet_pytorch",
    "mediapipe",
    "skimage",
    "facexlib",
)

SCRIPT = """
    import shutil, sys
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
    from graphs import example_on_tiny_models
    shutil.copy({photograph!r}, base / "input/person.jpg")
    graph = example_on_tiny_models(size=128, steps=1, adapter="tiny_instantid.bin")
    outputs = pack.run_graph(graph).outputs
    print("faces:", len(outputs["6"]["faces"][0]["faces"]), "pictures:", len(outputs["15"]["images"]))
"""


def test_the_example_runs_without_any_optional_package():
    script = SCRIPT.format(blocked=set(BLOCKED), photograph=str(group_photograph()))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT / "tests", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "faces: 6 pictures: 1" in done.stdout
