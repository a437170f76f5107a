"""Write tests/data/face_api_{vectors,landmarks}.json: chips of the test photographs and what face-api's JavaScript
makes of them.

Usage: python scripts/face_api_chips.py   (needs node, and the test photographs in build/)
A chip is the photograph's RGB pixels inside a square box, resized by Pillow's bilinear filter to 150 x 150 for
the descriptor and to 112 x 112 for the landmarks.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from photographs import SAMPLES, people, reference_chip  # noqa: E402


def write(file: str, network: str, side: int, recipes: list[dict], digits: int) -> None:
    """The recipes with what face-api's `network` makes of their chips, `side` pixels wide, one to a line."""
    with tempfile.TemporaryDirectory() as folder:
        chips, vectors = Path(folder, "chips.bin"), Path(folder, "vectors.json")
        chips.write_bytes(b"".join(reference_chip(recipe, side).tobytes() for recipe in recipes))
        script = ROOT / "scripts" / "face_api_reference.mjs"
        subprocess.run(["node", script, SAMPLES.parent, network, chips, vectors], check=True)
        lines = [
            json.dumps({**recipe, "vector": [float(f"{value:.{digits}g}") for value in vector]})
            for recipe, vector in zip(recipes, json.loads(vectors.read_text()), strict=True)
        ]
    (ROOT / "tests" / "data" / file).write_text("[\n" + ",\n".join(lines) + "\n]\n")


def main() -> None:
    recipes = []
    for name, seen in people().items():
        for face in seen["faces"][:2]:
            left, top, right, bottom = face["box"]
            half = round(0.6 * max(right - left, bottom - top))
            x, y = (left + right) // 2, (top + bottom) // 2
            recipes.append({"photograph": name, "box": [x - half, y - half, x + half, y + half]})
    write("face_api_vectors.json", "descriptor", 150, recipes, digits=7)
    write("face_api_landmarks.json", "landmarks68", 112, recipes[::2], digits=6)


if __name__ == "__main__":
    main()
