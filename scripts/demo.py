"""`make demo`: one photograph through a real ComfyUI, from the face to a picture and its likeness score.

    python scripts/demo.py [--photo path] [--out out]

Starts ComfyUI with the pack, posts workflows/api/instantid_basic.json and leaves in out/: faces.png (the photograph
with boxes and landmarks), control.png (the landmarks as the ControlNet sees them), picture.png and report.json. The
models are tiny and their weights random, so picture.png is noise: what runs for real is everything around them.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from comfy_server import ComfyError, ComfyServer, find_comfyui, prepare_base_directory
from PIL import Image, UnidentifiedImageError

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
SIZE, STEPS = 512, 8
TINY = {
    "CheckpointLoaderSimple": {"ckpt_name": "tiny_sdxl.safetensors"},
    "LoadIDAdapter": {"adapter": "instantid/tiny_instantid.safetensors"},
    "ControlNetLoader": {"control_net_name": "tiny_sdxl_controlnet.safetensors"},
    "EmptyLatentImage": {"width": SIZE, "height": SIZE},
    "KSampler": {"steps": STEPS},
}
PHOTOGRAPH_SCORES, PORTRAIT = "photograph_scores", "portrait"
# What each saved file is: the node that makes it, and where its history entry lists pictures.
PICTURES = {"faces.png": "DetectFaces", "control.png": "PreviewImage", "picture.png": "SaveImage"}


def default_photograph():
    """The group photograph that the insightface wheel carries; the package itself is not imported."""
    package = importlib.util.find_spec("insightface").submodule_search_locations[0]
    return Path(package) / "data/images/t1.jpg"


def checked_photograph(path):
    try:
        with Image.open(path) as picture:
            picture.verify()
    except FileNotFoundError:
        sys.exit(f"There is no file {path}; give a photograph with PHOTO=path/to/photograph.jpg.")
    except (UnidentifiedImageError, OSError, SyntaxError):
        sys.exit(f"{path} is not a picture that can be read; give a JPEG or PNG with PHOTO=path/to/photograph.jpg.")
    return path


def node_of(graph, class_type):
    return next(node_id for node_id, node in graph.items() if node["class_type"] == class_type)


def prepare(base):
    """ComfyUI's folders with the pack, and tiny models with random weights in the published layouts."""
    prepare_base_directory(base, {"likeness": ROOT, "likeness_tiny_models": TESTS / "tiny/likeness_tiny_models"})
    made = subprocess.run([sys.executable, "-m", "tiny", base / "models"], cwd=TESTS, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"The tiny models could not be written: {made.stderr.strip().splitlines()[-1:] or 'no reason given'}.")


def build_graph(photograph_name):
    graph = json.loads((ROOT / "workflows/api/instantid_basic.json").read_text())
    for class_type, values in TINY.items():
        graph[node_of(graph, class_type)]["inputs"].update(values)
    graph[node_of(graph, "LoadImage")]["inputs"]["image"] = photograph_name
    # The generated picture is noise, so real faces are scored too: every face of the photograph against the identity.
    faces, identity = node_of(graph, "DetectFaces"), node_of(graph, "EncodeIdentity")
    judge = graph[node_of(graph, "IDSimilarity")]
    graph[PHOTOGRAPH_SCORES] = {
        "class_type": "IDSimilarity",
        "inputs": {**judge["inputs"], "image": [faces, 1], "identity": [identity, 0]},
        "_meta": {"title": "How alike each face of the photograph is"},
    }
    # Faces of a group photograph are small: the pose is that of the largest one's cut-out, which fills the picture.
    detect = graph[faces]
    graph[PORTRAIT] = {**detect, "inputs": {**detect["inputs"], "index": "0"}, "_meta": {"title": "Portrait"}}
    graph[node_of(graph, "LandmarkControl")]["inputs"]["image"] = [PORTRAIT, 1]
    return graph


def show_progress(graph):
    def show(node_id, value, maximum):
        if maximum == 1:
            return
        bar = "#" * round(24 * value / maximum)
        print(f"\r  {graph[node_id]['_meta']['title']:<12} [{bar:<24}] {value}/{maximum}", end="", flush=True)
        if value == maximum:
            print()

    return show


def report_of(graph, outputs, photograph, seconds):
    faces = outputs[node_of(graph, "DetectFaces")]["faces"][0]["faces"]
    picture, photographed = (
        json.loads(outputs[node_id]["report"][0]) for node_id in (node_of(graph, "IDSimilarity"), PHOTOGRAPH_SCORES)
    )
    return {
        "photograph": photograph.name,
        "faces": faces,
        "likeness_of_each_face_to_the_largest": photographed,
        "likeness_of_the_picture": picture,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "note": "The generator has random weights, so picture.png is noise and has no face to score.",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, help="a photograph with a face")
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="where the results go")
    options = parser.parse_args()
    photograph = checked_photograph(options.photo or default_photograph())
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are too small for a second thread to help
    seconds, started = {}, time.monotonic()

    def lap(name):
        nonlocal started
        seconds[name] = time.monotonic() - started
        started = time.monotonic()

    with tempfile.TemporaryDirectory(prefix="likeness-demo-") as directory:
        base = Path(directory)
        print("Writing tiny models with random weights")
        prepare(base)
        lap("models")
        print("Starting ComfyUI")
        with ComfyServer(base, find_comfyui()) as server:
            lap("start")
            graph = build_graph(server.upload_image(photograph))
            print(f"Running workflows/api/instantid_basic.json on {photograph.name}")
            outputs = server.wait(server.queue(graph), show_progress(graph))["outputs"]
            lap("workflow")
            options.out.mkdir(parents=True, exist_ok=True)
            for name, class_type in PICTURES.items():
                (options.out / name).write_bytes(server.view(**outputs[node_of(graph, class_type)]["images"][0]))
    report = report_of(graph, outputs, photograph, seconds)
    (options.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")

    scores = [judged["score"] for judged in report["likeness_of_each_face_to_the_largest"]["images"]]
    print(
        f"\n{len(report['faces'])} faces in {photograph.name}; the largest became the identity. Likeness of each to it "
        "(cosine):"
    )
    print("  " + "  ".join("no face" if score is None else f"{score:.3f}" for score in scores))
    print(f"In {options.out}:")
    print("  faces.png    the photograph with every face that was found")
    print("  control.png  the pose, as the landmark ControlNet sees it")
    print("  picture.png  noise: the demo's generator has random weights")
    print("  report.json  faces, scores and times")


if __name__ == "__main__":
    try:
        main()
    except (ComfyError, FileNotFoundError, TimeoutError) as error:
        sys.exit("The demo stopped. " + str(error).partition("\n  File")[0])  # a node's sentence without its traceback
    except OSError as error:
        sys.exit(f"The demo stopped: {error.strerror or error}.")
