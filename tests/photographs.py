"""The seven real photographs that the tests look at, what is seen on them, and pairs of faces from them.

Who is who (data/people.json) was settled by looking: within one photograph every two faces are two people, and nobody
on t1 is on the samples. Across the samples one person only was recognised with confidence, so other pairs across them
are left out, and the "same person" pairs come mostly from the same photographs altered: mirrored, shrunk, turned,
darkened, recoloured and compressed, then detected, aligned and described from the start.
"""

import functools
import io
import itertools
import json
import math
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "build" / "face-api" / "package" / "demo"


def photographs() -> dict[str, Path]:
    """Name to file: t1 of the insightface package, sample1 to sample6 of the npm package @vladmandic/face-api."""
    paths = {"t1": Path(distribution("insightface").locate_file("insightface/data/images/t1.jpg"))}
    paths |= {f"sample{number}": SAMPLES / f"sample{number}.jpg" for number in range(1, 7)}
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"The test photographs are not there ({missing[0]}): run `make setup-test` first.")
    return paths


@functools.cache
def people() -> dict[str, dict]:
    """Per photograph: "faces" with "person" and "box" (xyxy, pixels), and "false", detections that are no face."""
    return json.loads((ROOT / "tests" / "data" / "people.json").read_text())


@functools.cache
def picture(name: str) -> Image.Image:
    """A photograph as an RGB picture, read once: do not change it."""
    return Image.open(photographs()[name]).convert("RGB")


def as_image(picture: Image.Image) -> torch.Tensor:
    """A picture as a ComfyUI IMAGE [1, H, W, 3]."""
    return torch.from_numpy(np.array(picture)).float().div(255)[None]


def reference_chip(recipe: dict, side: int = 150) -> np.ndarray:
    """The chip [side, side, 3] uint8 that a recipe of data/face_api_vectors.json or face_api_landmarks.json means."""
    cut = picture(recipe["photograph"]).crop(tuple(recipe["box"]))
    return np.array(cut.resize((side, side), Image.Resampling.BILINEAR))


def overlap(a, b) -> float:
    """Intersection over union of two xyxy boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def mirrored_small(picture: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """Mirrored, half the size, JPEG quality 40; with the matrix [2, 3] from old to new pixels."""
    width, height = picture.size
    small = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((width // 2, height // 2))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB"), np.array([[-0.5, 0, width / 2], [0, 0.5, 0]])


def turned_dark(picture: Image.Image) -> tuple[Image.Image, np.ndarray]:
    """Turned by 12 degrees at 0.6 of the size, darker and colder; with the matrix [2, 3] from old to new pixels."""
    width, height = picture.size
    scale, angle = 0.6, math.radians(12)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ turn.T
    matrix = np.concatenate([turn, -corners.min(0)[:, None]], 1)
    size = tuple(int(length) for length in np.ptp(corners, axis=0))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    turned = picture.transform(size, Image.Transform.AFFINE, inverse.flatten(), Image.Resampling.BICUBIC)
    pixels = (np.asarray(turned) / 255) ** 1.6 * [0.85, 1.0, 1.15]
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)), matrix


ALTERATIONS = {"as it is": lambda picture: (picture, np.eye(2, 3)), "mirrored, small": mirrored_small,
               "turned, dark": turned_dark}  # fmt: skip


def moved(box, matrix: np.ndarray) -> tuple[float, float, float, float]:
    """The upright box around the centre of `box` after `matrix`, its size scaled."""
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    x, y = matrix @ [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1]
    width, height = (box[2] - box[0]) * scale / 2, (box[3] - box[1]) * scale / 2
    return x - width, y - height, x + width, y + height


def labelled_faces(detect, names=None) -> list[tuple[str, str, str, object, int]]:
    """(photograph, alteration, person, detected faces, place among them) of every labelled face that was found.

    detect: (IMAGE, name, alteration) -> Faces of one image. names: of photographs, None for all. A face counts as found
    when a detection overlaps its box by half.
    """
    found = []
    for name, seen in people().items():
        if names is not None and name not in names:
            continue
        for alteration, change in ALTERATIONS.items():
            altered, matrix = change(picture(name))
            image = as_image(altered)
            faces = detect(image, name, alteration)
            for face in seen["faces"]:
                box = moved(face["box"], matrix)
                overlaps = [overlap(box, other.box) for other in faces.on_host]
                if overlaps and max(overlaps) > 0.45:
                    found.append((name, alteration, face["person"], (image, faces), int(np.argmax(overlaps))))
    return found


def pairs(labels: list[tuple[str, str, str]]) -> list[tuple[int, int, bool]]:
    """(first, second, same person) for the labels (photograph, alteration, person) whose answer is certain."""
    certain = []
    for (i, a), (j, b) in itertools.combinations(enumerate(labels), 2):
        if a[2] == b[2]:
            if a[1] != b[1] or a[0] != b[0]:
                certain.append((i, j, True))
        elif a[1] == b[1] and (a[0] == b[0] or "t1" in (a[0], b[0])):
            certain.append((i, j, False))
    return certain


def cosines(vectors: torch.Tensor, chosen: list[tuple[int, int, bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines of descriptors [N, D] over pairs, of one person and of two."""
    unit = F.normalize(vectors.double(), dim=1)
    value = torch.tensor([float(unit[i] @ unit[j]) for i, j, _ in chosen])
    same = torch.tensor([kind for _, _, kind in chosen])
    return value[same], value[~same]
