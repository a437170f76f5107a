"""Print how many of the faces on the test photographs are found, missed and made up, as Markdown.

Usage: python benchmarks/found.py [WAY ...] [--photograph NAME ...]   (needs the test photographs in build/)
Photographs as they are, mirrored, turned by quarter turns, shrunk to half and a quarter, and cut to a square around
each face, as they are and turned. WAY is a way of searching; "MTCNN" is the detector without a second opinion.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import alone  # noqa: E402, F401  (loads the pack)
import photographs  # noqa: E402
import torch  # noqa: E402
from likeness.core.faces.detect.mtcnn import MTCNN  # noqa: E402
from likeness.core.faces.detect.search import search, turn_of  # noqa: E402
from likeness.core.faces.embedded import load_embedded  # noqa: E402
from likeness.core.faces.encoder import FaceEncoder  # noqa: E402

TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def turned(picture: Image.Image, faces: list[dict], degrees: int) -> tuple[Image.Image, list[dict]]:
    """Picture and labelled boxes turned counter-clockwise by 90, 180 or 270 degrees."""
    width, height = picture.size
    corners = {
        90: lambda x, y: (y, width - x),
        180: lambda x, y: (width - x, height - y),
        270: lambda x, y: (height - y, x),
    }[degrees]
    moved = []
    for face in faces:
        (a, b), (c, d) = corners(*face["box"][:2]), corners(*face["box"][2:])
        moved.append({**face, "box": [min(a, c), min(b, d), max(a, c), max(b, d)]})
    return picture.transpose(TURNS[degrees]), moved


def shrunk(picture: Image.Image, faces: list[dict], parts: int) -> tuple[Image.Image, list[dict]]:
    """Picture and labelled boxes with the sides divided by `parts`."""
    size = picture.width // parts, picture.height // parts
    small = picture.resize(size, Image.Resampling.LANCZOS)
    return small, [{**face, "box": [side / parts for side in face["box"]]} for face in faces]


def mirrored(picture: Image.Image, faces: list[dict]) -> tuple[Image.Image, list[dict]]:
    """Picture and labelled boxes, left for right."""
    moved = [{**face, "box": [picture.width - face["box"][2], face["box"][1], picture.width - face["box"][0],
                              face["box"][3]]} for face in faces]  # fmt: skip
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), moved


def close_up(picture: Image.Image, face: dict, grown: float = 1.0) -> tuple[Image.Image, list[dict]]:
    """The square around one labelled face, `grown` longer sides of its box wide and cut at the picture's border."""
    left, top, right, bottom = face["box"]
    half, x, y = grown * max(right - left, bottom - top) / 2, (left + right) / 2, (top + bottom) / 2
    cut = (max(0, round(x - half)), max(0, round(y - half)), min(picture.width, round(x + half)),
           min(picture.height, round(y + half)))  # fmt: skip
    box = [left - cut[0], top - cut[1], right - cut[0], bottom - cut[1]]
    return picture.crop(cut), [{**face, "box": box}]


def _close_ups(picture, faces):
    return [close_up(picture, face) for face in faces]


# condition -> (picture, labelled faces) -> [(picture, labelled faces, degrees that they are turned counter-clockwise)]
CONDITIONS = {
    "as they are": lambda picture, faces: [(picture, faces, 0)],
    "mirrored": lambda picture, faces: [(*mirrored(picture, faces), 0)],
    **{
        f"turned by {degrees}": lambda picture, faces, degrees=degrees: [(*turned(picture, faces, degrees), degrees)]
        for degrees in TURNS
    },
    "half the side": lambda picture, faces: [(*shrunk(picture, faces, 2), 0)],
    "a quarter of the side": lambda picture, faces: [(*shrunk(picture, faces, 4), 0)],
    "close-ups": lambda picture, faces: [(*cut, 0) for cut in _close_ups(picture, faces)],
    "close-ups, turned": lambda picture, faces: [
        (*turned(*cut, degrees), degrees) for cut in _close_ups(picture, faces) for degrees in TURNS
    ],
}


def judge(found, faces: list[dict], degrees: int) -> tuple[list[str], list[str], list]:
    """People found the right way up, people missed, and finds that are nobody.

    found: Faces of one picture. A find is somebody where it overlaps the labelled box by half and is turned as the
    picture is, give or take 50 degrees.
    """
    nobody, people = [], set()
    for find in found.on_host:
        overlaps = [photographs.overlap(find.box, face["box"]) for face in faces]
        place = int(np.argmax(overlaps))
        off = (turn_of(find.landmarks) + degrees + 180) % 360 - 180
        if overlaps[place] > 0.5 and abs(off) < 50 and faces[place]["person"] not in people:
            people.add(faces[place]["person"])
        else:
            nobody.append(find)
    everybody = [face["person"] for face in faces]
    return sorted(people), [person for person in everybody if person not in people], nobody


WAYS = ("MTCNN", "plain", "auto", "thorough")


def searches(encoder: FaceEncoder) -> dict:
    """Name to IMAGE -> Faces."""
    mtcnn = MTCNN()
    mtcnn.load_state_dict(encoder.detector.detector.state_dict())
    bare = FaceEncoder(mtcnn, encoder.embedder, encoder.space, encoder.dim, encoder.alignment)
    modes = {mode: lambda image, mode=mode: search(encoder.detect, image, mode, sure=encoder.sure) for mode in WAYS[1:]}
    return {"MTCNN": bare.detect, **modes}


@torch.no_grad()
def main() -> None:
    """Print the table for the wanted ways of searching, by default all."""
    everybody = photographs.people()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)}; without any all of them")
    parser.add_argument("--photograph", nargs="+", choices=everybody, default=list(everybody))
    given = parser.parse_args()
    if unknown := set(given.ways) - set(WAYS):
        parser.error(f"there is no way {min(unknown)}")
    ways = {way: find for way, find in searches(load_embedded()).items() if way in (given.ways or WAYS)}
    print("| photographs | search | faces | found | missed | made up | seconds |")
    print("|---|---|---|---|---|---|---|")
    for condition, change in CONDITIONS.items():
        shown = [
            (name, photographs.as_image(picture), *rest)
            for name, seen in everybody.items()
            if name in given.photograph
            for picture, *rest in change(photographs.picture(name), seen["faces"])
        ]
        for way, find in ways.items():
            found, who, made_up, start = 0, [], 0, time.perf_counter()
            for name, image, faces, degrees in shown:
                people, missed, nobody = judge(find(image), faces, degrees)
                found, made_up = found + len(people), made_up + len(nobody)
                who += [f"{name}/{person}" for person in missed]
            seconds = time.perf_counter() - start
            named = f" ({', '.join(who)})" if 0 < len(who) <= 6 else ""
            print(f"| {condition} | {way} | {found + len(who)} | {found} | {len(who)}{named} | {made_up} "
                  f"| {seconds:.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
