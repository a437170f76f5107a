"""Pictures to train the faces on: a gallery of portraits, drawn once, scenes made of it, and what spoils them."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import torch.distributed as distributed

from . import world
from .pack import BUILD, sized
from .world.palette import BACKGROUNDS

PEOPLE, VIEWS, CHUNK = sized(4096, 64), 3, sized(256, 32)
SEED = 3
SIDE = 128
NOT_SHOWN = -100  # cross_entropy's ignore_index
INSIDE = 2  # pixels from the picture's edge that every landmark of a whole face keeps
_SWAPPED = (1, 0, 2, 4, 3)  # landmarks of a mirrored face


class Gallery:
    """People, whole chunks of them, in order of their skin's depth, with several portraits each, in looks and poses of
    their own.

    traits: float32 [people, 32]. looks: int64 [people, views, len(LOOKS)], places in LOOKS' values, NOT_SHOWN where the
    picture shows none. landmarks: float32 [people, views, 5, 2]. The pictures lie in build/facelets, where
    they are drawn when they are missing, by one process, and are read from there as needed.
    """

    def __init__(self, count: int = PEOPLE):
        rng = np.random.default_rng(SEED)
        people = sorted((world.sample_identity(rng) for _ in range(count)), key=lambda person: person.skin_depth)
        self.folder, chunks = gallery_folder(count), range(count // CHUNK)
        self.traits = np.stack([person.vector for person in people])
        looks = [look for chunk in chunks for _, look, _ in _views(people, chunk)]
        self.looks = np.array([[values.index(getattr(look, name)) if look.says(name) else NOT_SHOWN
                                for name, values in world.LOOKS.items()] for look in looks])  # fmt: skip
        self.looks = self.looks.reshape(count, VIEWS, -1)
        alone = not distributed.is_initialized()
        if alone or distributed.get_rank() == 0:
            _draw_missing(people, self.folder)
        if not alone:
            distributed.barrier()
        self._images = [np.load(self.folder / f"{chunk}.images.npy", mmap_mode="r") for chunk in chunks]
        self.landmarks = np.concatenate([np.load(self.folder / f"{chunk}.landmarks.npy") for chunk in chunks])

    def image(self, person: int, view: int) -> np.ndarray:
        """uint8 [128, 128, 3] RGB."""
        return self._images[person // CHUNK][person % CHUNK, view]

    def portrait(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Any portrait and its landmarks, mirrored every other time."""
        person, view = rng.integers(len(self.traits)), rng.integers(VIEWS)
        image, landmarks = self.image(person, view), self.landmarks[person, view]
        if rng.uniform() < 0.5:
            return image, landmarks
        return image[:, ::-1], np.array((SIDE - 1, 0)) + landmarks[list(_SWAPPED)] * (-1, 1)


def gallery_folder(people: int) -> Path:
    """A folder of its own for every version of the world that draws other pictures, and for every number of people."""
    drawing = (path for path in sorted(Path(world.__file__).parent.glob("*.py")) if path.stem != "captions")
    code = b"".join(path.read_bytes() for path in drawing)
    return BUILD / f"gallery-{people}-{hashlib.sha256(code).hexdigest()[:8]}"


def _views(people, chunk):
    """(person, look, pose) of all portraits of a chunk."""
    rng = np.random.default_rng([SEED, chunk])
    return [
        (person, world.sample_look(rng), world.sample_pose(rng))
        for person in people[chunk * CHUNK : (chunk + 1) * CHUNK]
        for _ in range(VIEWS)
    ]


def _draw_missing(people, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for chunk in range(len(people) // CHUNK):
        images = folder / f"{chunk}.images.npy"
        if images.exists():
            continue
        drawn = [world.draw(*view) for view in _views(people, chunk)]
        landmarks = np.stack([portrait.landmarks for portrait in drawn]).reshape(CHUNK, VIEWS, 5, 2)
        np.save(folder / f"{chunk}.landmarks.npy", landmarks)
        part = folder / "part.npy"
        np.save(part, np.stack([portrait.image for portrait in drawn]).reshape(CHUNK, VIEWS, SIDE, SIDE, 3))
        part.replace(images)


def spoil(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uint8 picture with other colours, blur, noise or JPEG's blocks, each now and then, as models and files leave
    them."""
    if rng.uniform() < 0.6:
        gain, bias = rng.normal(1, 0.06, 3) * rng.normal(1, 0.06), rng.normal(0, 6, 3) + rng.normal(0, 6)
        image = np.clip(image * gain.astype(np.float32) + bias.astype(np.float32), 0, 255).astype(np.uint8)
    kind = rng.uniform()
    if kind < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.8))
    elif kind < 0.5:
        side = int(SIDE / rng.uniform(1.2, 2.4))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if rng.uniform() < 0.35:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(2, 14)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.uniform() < 0.25:
        _, packed = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))))
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image


def faceless(gallery: Gallery, rng: np.random.Generator) -> np.ndarray:
    """A picture of 128 x 128 pixels in which nobody is to be found."""
    kind = rng.integers(8)
    if kind == 0:
        colors = [*BACKGROUNDS.values(), tuple(rng.integers(0, 256, 3))]
        image = np.full((SIDE, SIDE, 3), colors[rng.integers(len(colors))], np.float32)
        slope = np.linspace(0.9, 1.03, SIDE, dtype=np.float32) ** rng.normal(0, 1)
        return np.clip(image * slope[:, None, None], 0, 255).astype(np.uint8)
    if kind in (1, 2):  # what badly decoded or unfinished latents look like
        side = int(rng.choice((4, 8, 16, 32, 128)))
        image = rng.normal(128, rng.uniform(20, 90), (side, side, 3)).clip(0, 255).astype(np.uint8)
        return cv2.resize(image, (SIDE, SIDE), interpolation=int(rng.choice((cv2.INTER_NEAREST, cv2.INTER_CUBIC))))
    image, landmarks = gallery.portrait(rng)
    if kind == 3:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(9, 25))
    if kind == 4:
        side = SIDE // int(rng.choice((4, 8)))
        tiles = image.reshape(SIDE // side, side, SIDE // side, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
        tiles = tiles[rng.permutation(len(tiles))].reshape(SIDE // side, SIDE // side, side, side, 3)
        return tiles.swapaxes(1, 2).reshape(SIDE, SIDE, 3)
    if kind == 5:  # a head without features
        middle = tuple(int(value) for value in landmarks.mean(0))
        color = tuple(int(value) for value in image[min(127, int(landmarks[2, 1]) - 4), int(landmarks[2, 0])])
        return cv2.ellipse(image.copy(), middle, (28, 36), 0, 0, 360, color, -1, cv2.LINE_AA)
    while True:  # a cut-out beside the features
        side = int(rng.integers(24, 56))
        left, top = rng.integers(0, SIDE - side, 2)
        if not ((landmarks > (left - 5, top - 5)) & (landmarks < (left + side + 5, top + side + 5))).all(1).any():
            return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


def scene(gallery: Gallery, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """A picture of 128 x 128 pixels, landmarks [5, 2] of its faces, and of those that are cut off by its edges."""
    kind = rng.uniform()
    if kind < 0.22:
        return faceless(gallery, rng), [], []
    if kind < 0.5:
        image, landmarks = gallery.portrait(rng)
        return image, [landmarks], []
    if kind < 0.78:
        return _moved(*gallery.portrait(rng), rng)
    return _mosaic(gallery, rng)


def _sorted_out(image, faces):
    """Faces with every landmark inside the picture, and the others that may show in it."""
    inside = [((face > INSIDE) & (face < SIDE - 1 - INSIDE)).all() for face in faces]
    return image, [f for f, there in zip(faces, inside, strict=True) if there], [
        f for f, there in zip(faces, inside, strict=True) if not there
    ]  # fmt: skip


def _moved(image, landmarks, rng):
    scale, turn = np.exp(rng.uniform(np.log(0.58), np.log(1.3))), np.clip(rng.normal(0, 0.12), -0.3, 0.3)
    matrix = cv2.getRotationMatrix2D((63.5, 63.5), np.degrees(turn), scale)
    matrix[:, 2] += rng.uniform(-26, 26, 2)
    blurred = cv2.GaussianBlur(image, (0, 0), 0.5 / scale) if scale < 0.8 else image
    image = cv2.warpAffine(blurred, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _sorted_out(image, [landmarks @ matrix[:, :2].T + matrix[:, 2]])


def _mosaic(gallery, rng):
    """The window of a wall of portraits: what the grid sees of a wider canvas."""
    side = int(rng.integers(76, SIDE + 1))
    left, top = rng.integers(-side + 1, 1, 2)
    image, faces = np.zeros((SIDE, SIDE, 3), np.uint8), []
    for x in range(left, SIDE, side):
        for y in range(top, SIDE, side):
            if rng.uniform() < 0.8:
                tile, landmarks = gallery.portrait(rng)
                faces.append((landmarks + 0.5) * (side / SIDE) - 0.5 + (x, y))
            else:
                tile = faceless(gallery, rng)
            tile = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
            x0, y0 = max(x, 0), max(y, 0)
            part = tile[y0 - y : SIDE - y, x0 - x : SIDE - x]
            image[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    return _sorted_out(image, faces)
