"""Makes the pictures of the examples on Facelets, workflows/facelets_*.jpg, from what they draw in a real ComfyUI.

    python scripts/thumbnails.py [EXAMPLE ...] [--out FOLDER]

Each shows what some of its nodes put out, side by side.
"""

import argparse
import io
import json
import os
import tempfile
from pathlib import Path

from comfy_server import ComfyServer, find_comfyui, prepare_base_directory
from help_drawing import fitted
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# Titles of the nodes whose pictures are shown from left to right. In this order: the saved identity is the five's.
SHOWN = {
    "facelets_portrait": ("Decode somebody", "Decode"),
    "facelets_pose": ("Decode somebody", "Decode somebody else", "Decode"),
    "facelets_two_people": ("Decode the first person", "Decode the second person", "Decode"),
    "facelets_cure": ("Decode somebody", "Decode without the cure", "Decode with the cure", "Mask over the picture"),
    "facelets_cure_all": ("Decode somebody", "Save both side by side"),
    "facelets_best_of": ("Decode somebody", "Save the accepted", "The rejected"),
    "facelets_five_photographs": ("Decode the five", "Decode"),
    "facelets_saved_identity": ("Decode",),
    "facelets_detailer": ("Decode the first person", "Decode the second person", "Before and after"),
}
HEIGHT, WIDEST, GAP = 256, 1040, 4  # pixels


def pictures(server: ComfyServer, name: str) -> list[Image.Image]:
    """What the nodes of an example's SHOWN put out."""
    graph = json.loads((ROOT / f"workflows/api/{name}.json").read_text())
    shown = []
    for title in SHOWN[name]:
        key = next(key for key, node in graph.items() if node["_meta"]["title"] == title)
        if "images" not in graph[key]["inputs"]:  # of the nodes that show pictures
            inputs = {"images": [key, 0]}
            key = f"shown {key}"
            graph[key] = {"class_type": "PreviewImage", "inputs": inputs, "_meta": {"title": f"Shown: {title}"}}
        shown.append(key)
    outputs = server.wait(server.queue(graph))["outputs"]
    # a gate that lets nothing through shows nothing
    files = [image for key in shown for image in outputs.get(key, {"images": []})["images"]]
    return [Image.open(io.BytesIO(server.view(**file))) for file in files]


def strip(cells: list[Image.Image]) -> Image.Image:
    """Pictures in a row, all of one height, no wider than WIDEST."""
    wide = sum(cell.width / cell.height for cell in cells)
    height = min(HEIGHT, int((WIDEST - GAP * (len(cells) - 1)) / wide))
    cells = [fitted(cell, height) for cell in cells]
    sheet = Image.new("RGB", (sum(cell.width + GAP for cell in cells) - GAP, height), "white")
    x = 0
    for cell in cells:
        sheet.paste(cell, (x, 0))
        x += cell.width + GAP
    return sheet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="EXAMPLE", help="without any all of them")
    parser.add_argument("--out", type=Path, default=ROOT / "workflows", metavar="FOLDER")
    given = parser.parse_args()
    if unknown := set(given.names) - SHOWN.keys():
        parser.error(f"{min(unknown)} is no example on Facelets; these are: {', '.join(SHOWN)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models are too small for a second thread to help
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="likeness-thumbnails-") as directory:
        with ComfyServer(prepare_base_directory(directory, {"likeness": ROOT}), find_comfyui()) as server:
            for name in [name for name in SHOWN if name in (given.names or SHOWN)]:
                path = given.out / f"{name}.jpg"
                strip(pictures(server, name)).save(path, quality=88, optimize=True)
                print(json.dumps({"picture": path.name, "bytes": path.stat().st_size}), flush=True)


if __name__ == "__main__":
    main()
