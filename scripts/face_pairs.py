"""Print how well the embedded encoder tells people apart on the test photographs, as Markdown.

Usage: python scripts/face_pairs.py [--photograph NAME ...]   (needs the test photographs in build/)
Three alignments: five landmarks to the template (the encoder's own), and the detector's box as a square, once and 1.2
times as large, the way face-api crops.
"""

import argparse
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import alone  # noqa: E402, F401  (loads the pack)
import photographs  # noqa: E402
from likeness.core.faces.align.transforms import upright, warp  # noqa: E402
from likeness.core.faces.embedded import load_embedded  # noqa: E402
from pairs import area_under_curve, logistic  # noqa: E402


def box_chips(image, faces, grown: float, size: int) -> torch.Tensor:
    """Upright square chips around the boxes, [N, 3, size, size]."""
    centre = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    scale = size / (faces.boxes[:, 2:] - faces.boxes[:, :2]).amax(1) / grown
    matrices = upright(centre - 0.5, scale, size / 2 - 0.5)
    return warp(image, faces.image_index, matrices, size, antialias=True)


def report(name: str, vectors: torch.Tensor, pairs: list[tuple[int, int, bool]]) -> None:
    """One row of the table."""
    same, different = photographs.cosines(vectors, pairs)
    slope, middle = logistic(same, different)
    print(f"| {name} | {len(same)} | {len(different)} | {area_under_curve(same, different):.4f} "
          f"| {same.mean():.4f} ± {same.std():.4f} | {same.min():.4f} | {different.mean():.4f} ± {different.std():.4f} "
          f"| {different.max():.4f} | {slope:.0f} | {middle:.4f} |")  # fmt: skip


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photograph", nargs="+", choices=photographs.people(), help="without any all of them")
    encoder = load_embedded()
    found = photographs.labelled_faces(lambda image, *_: encoder.detect(image), parser.parse_args().photograph)
    labels = [entry[:3] for entry in found]
    chippers = {
        "five landmarks": encoder.align,
        "box": lambda image, faces: box_chips(image, faces, 1.0, encoder.alignment.side),
        "box x 1.2": lambda image, faces: box_chips(image, faces, 1.2, encoder.alignment.side),
    }
    vectors = {
        name: torch.cat([encoder.embedder(chip(image, faces)[place : place + 1])
                         for _, _, _, (image, faces), place in found])
        for name, chip in chippers.items()
    }  # fmt: skip
    pairs = photographs.pairs(labels)
    print("| alignment | same | different | AUC | same cosine | least | different cosine | most | a | b |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, described in vectors.items():
        report(name, described, pairs)
    described = vectors["five landmarks"]
    across = [(i, j, True) for i, j, same in pairs if same and labels[i][0] != labels[j][0]]
    within = [(i, j, False) for i, j, same in pairs if not same and labels[i][0] == labels[j][0]]
    report("five landmarks, across photographs against one photograph", described, across + within)
    print("\n| photograph | way | person | photograph | way | person | same | cosine |")
    print("|---|---|---|---|---|---|---|---|")
    unit = torch.nn.functional.normalize(described, dim=1)
    for i, j, same in sorted(pairs, key=lambda pair: -float(unit[pair[0]] @ unit[pair[1]])):
        row = (*labels[i], *labels[j], "yes" if same else "no", f"{float(unit[i] @ unit[j]):.4f}")
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
