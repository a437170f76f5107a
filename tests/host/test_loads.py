"""ComfyUI loads the pack, which asks for none of the packages whose installation fails so often; the example runs
without them."""

import subprocess
import sys
import textwrap

import photographs
from comfy_process import ROOT
from likeness.nodes import NODES

CORE_SOCKETS = {"BOUNDING_BOX", "IMAGE", "MASK", "MODEL", "CONDITIONING", "CLIP", "VAE", "CONTROL_NET", "INT", "FLOAT",
                "STRING"}  # fmt: skip


def test_comfyui_loads_every_node_of_the_pack(pack):
    listed = {node.GET_SCHEMA().node_id for node in NODES}
    assert listed and pack.own_nodes().keys() == listed
    for name, node in pack.own_nodes().items():
        schema = node.GET_SCHEMA()
        assert schema.category == "Likeness" and schema.display_name, name
        assert node.INPUT_TYPES().keys() <= {"required", "optional", "hidden"}, name
        assert all(kind.startswith("LIKENESS_") for kind in set(node.RETURN_TYPES) - CORE_SOCKETS), name


BLOCKED = {"insightface", "onnxruntime", "onnx", "diffusers", "cv2", "facenet_pytorch", "mediapipe", "skimage",
           "facexlib"}  # fmt: skip

# A process of its own: here other tests may have imported them.
SCRIPT = """
    import shutil, sys
    from importlib.machinery import PathFinder
    asked = set()

    class WithoutThem(PathFinder):
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            if (package := name.partition(".")[0]) not in {blocked}:
                return super().find_spec(name, path, target)
            asked.add(package)

    sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutThem
    try:
        import cv2
        sys.exit("OpenCV is still there")
    except ModuleNotFoundError:
        pass
    from comfy_process import TINY_MODELS, HostPack, start_nodes
    base = start_nodes()
    HostPack(base / "custom_nodes" / TINY_MODELS.name)
    asked.clear()
    pack = HostPack(base / "custom_nodes/likeness")
    assert pack.loaded
    print("asked for while it was loaded:", asked or "none")
    from tiny.files import write_files
    write_files(base / "models")
    from graphs import example_on_tiny_models
    shutil.copy({photograph!r}, base / "input/person.jpg")
    graph = example_on_tiny_models(size=128, steps=1, adapter="tiny_instantid.bin")
    outputs = pack.run_graph(graph).outputs
    print("faces:", len(outputs["6"]["faces"][0]["faces"]), "pictures:", len(outputs["15"]["images"]))
"""


def test_the_example_runs_without_any_optional_package(tmp_path):
    photograph = tmp_path / "person.jpg"
    photographs.picture("t1").crop((340, 100, 640, 400)).save(photograph)
    script = SCRIPT.format(blocked=BLOCKED, photograph=str(photograph))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT / "tests", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "asked for while it was loaded: none" in done.stdout
    assert "faces: 1 pictures: 1" in done.stdout
