"""Write tests/data/face_api_vectors.json: chips of the test photographs and what face-api's JavaScript makes of them.

Usage: python scripts/face_api_chips.py   (needs node, and the test photographs in build/)
A chip is the photograph's RGB pixels inside a square box, resized to 150 x 150 by Pillow's bilinear filter.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from photographs import SAMPLES, people, reference_chip  # noqa: E402


def main() -> None:
    recipes = []
    for name, seen in people().items():
        for face in seen["faces"][:2]:
            left, top, right, bottom = face["box"]
            half = round(0.6 * max(right - left, bottom - top))
            x, y = (left + right) // 2, (top + bottom) // 2
            recipes.append({"photograph": name, "box": [x - half, y - half, x + half, y + half]})
    with tempfile.TemporaryDirectory() as folder:
        chips, vectors = Path(folder, "chips.bin"), Path(folder, "vectors.json")
        chips.write_bytes(b"".join(reference_chip(recipe).tobytes() for recipe in recipes))
        script = ROOT / "scripts" / "face_api_reference.mjs"
        subprocess.run(["node", script, SAMPLES.parent, chips, vectors], check=True)
        lines = [
            json.dumps({**recipe, "vector": [float(f"{value:.7g}") for value in vector]})
            for recipe, vector in zip(recipes, json.loads(vectors.read_text()), strict=True)
        ]
    (ROOT / "tests" / "data" / "face_api_vectors.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
