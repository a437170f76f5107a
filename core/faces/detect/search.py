"""How a picture is looked through for faces: as it is, and with a border, enlarged or turned where that helps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from ...sizes import height_width
from ..align.templates import DLIB_TEMPLATE
from ..found import Faces, HostFace
from .verify import SAME_FACE

MODES = ("auto", "thorough", "plain")

CLOSE_UP_SIDE = 512  # pixels: a face that fills the frame needs no more, so the view with a border costs little
BORDER = 0.5  # of the shorter side, on each of the four sides
ENLARGED_SIDE = 1600  # pixels: pictures whose longer side doubled exceeds this are not enlarged
UPRIGHT = 35  # degrees of turn up to which a face counts as upright


class View(NamedTuple):
    """One way to look at a picture: resized, with a grey border of so many pixels, then turned counter-clockwise."""

    size: tuple[int, int]  # height and width before the border
    border: int
    quarter_turns: int

    def show(self, image: Tensor) -> Tensor:
        """[B, H, W, 3] as this view has it."""
        if self.size != tuple(image.shape[1:3]):
            pixels = image.movedim(-1, 1).float()
            image = F.interpolate(pixels, self.size, mode="bilinear", antialias=True).movedim(1, -1)
        image = F.pad(image, (0, 0, *(self.border,) * 4), value=0.5)
        return torch.rot90(image, self.quarter_turns, (1, 2))

    def back(self, image_size: tuple[int, int]) -> np.ndarray:
        """Matrix [2, 3] from this view's pixel edges to those of a picture of `image_size` (height, width)."""
        (height, width), (rows, columns) = self.size, image_size
        across, down = width + 2 * self.border, height + 2 * self.border
        turned = [[1, 0, 0], [0, 1, 0]], [[0, -1, across], [1, 0, 0]], [[-1, 0, across], [0, -1, down]], [
            [0, 1, 0], [-1, 0, down]]  # fmt: skip
        matrix = np.array(turned[self.quarter_turns], float)
        matrix[:, 2] -= self.border
        return matrix * [[columns / width], [rows / height]]


@dataclass(frozen=True)
class Find:
    """A face found in one view: in the image's own pixels, and where its tensors are.

    turn: degrees clockwise from upright in the view. worth: score, less for a face that is turned in its view,
    because a detector knows upright faces best.
    """

    face: HostFace
    turn: float
    worth: float
    view: int
    place: int


class Search:
    """Looks at a batch of images [B, H, W, 3] one way after another and collects what is found.

    detect: IMAGE -> Faces of pictures of one size. min_size: smaller faces are as if they were not there. sure: score
    from which a find is no doubtful one.
    """

    def __init__(self, detect: Callable[[Tensor], Faces], image: Tensor, min_size: int, sure: float):
        self.detect, self.image, self.min_size, self.sure = detect, image, min_size, sure
        self.first_view: dict[int, int] = {}  # a view that was taken again upright -> the one that asked for it
        self.size = height_width(image.shape[1:3])
        self.seen: list[Faces] = []
        self.found: list[list[Find]] = [[] for _ in range(len(image))]

    def look(self, view: View, numbers: list[int]) -> None:
        """Look at the images with these numbers."""
        part = self.image if len(numbers) == len(self.image) else self.image[numbers]
        faces = self.detect(view.show(part))
        turns = [turn_of(face.landmarks) for face in faces.on_host]
        faces = moved(faces, view.back(self.size), self.size)
        in_image = [number for number, count in zip(numbers, faces.counts, strict=True) for _ in range(count)]
        for place, (number, face, turn) in enumerate(zip(in_image, faces.on_host, turns, strict=True)):
            if max(face.box[2] - face.box[0], face.box[3] - face.box[1]) >= self.min_size:
                worth = face.score * math.cos(math.radians(turn))
                self.found[number].append(Find(face, turn, worth, len(self.seen), place))
        self.seen.append(faces)

    def look_upright(self, view: View, numbers: list[int]) -> None:
        """Look again at the images whose faces all lay on their side in `view`, turned the way most of them ask for."""
        ways: dict[int, list[int]] = {}
        for number in numbers:
            turns = [find.turn for find in self.found[number]]
            if turns and min(map(abs, turns)) > UPRIGHT:
                asked = [(round(turn / 90) or int(math.copysign(1, turn))) % 4 for turn in turns]
                ways.setdefault(max(asked, key=asked.count), []).append(number)
        asking = len(self.seen) - 1
        for quarter_turns, sideways in ways.items():
            self.first_view[len(self.seen)] = asking
            self.look(view._replace(quarter_turns=(view.quarter_turns + quarter_turns) % 4), sideways)

    def is_sure(self, number: int) -> bool:
        """Whether an image has an upright face that is no doubtful one."""
        return any(find.face.score >= self.sure and abs(find.turn) <= UPRIGHT for find in self.found[number])

    def keep_best_view(self) -> None:
        """Leave of each image only what the view with the worthiest find has, together with its upright one.

        A view that shows nothing clearly has made up what it found as often as not.
        """
        for number, finds in enumerate(self.found):
            if finds:
                best = self._origin(max(finds, key=lambda find: find.worth))
                self.found[number] = [find for find in finds if self._origin(find) == best]

    def _origin(self, find: Find) -> int:
        return self.first_view.get(find.view, find.view)

    def faces(self) -> Faces:
        """What was found, each face once, grouped by image and largest first."""
        boxes, landmarks, scores = (
            torch.cat([getattr(faces, name) for faces in self.seen]) for name in ("boxes", "landmarks", "scores")
        )
        starts = list(accumulate((faces.total for faces in self.seen), initial=0))
        kept = [_once(finds) for finds in self.found]
        at = [starts[find.view] + find.place for finds in kept for find in finds]
        in_image = [number for number, finds in enumerate(kept) for _ in finds]
        at, image_index = torch.tensor([at, in_image], dtype=torch.long, device=boxes.device)
        faces = Faces(
            boxes[at], landmarks[at], scores[at], image_index, tuple(map(len, kept)), self.size,
            tuple(find.face for finds in kept for find in finds),
        )  # fmt: skip
        return faces.select("largest", "all")


def search(
    detect: Callable[[Tensor], Faces], image: Tensor, mode: str = "auto", min_size: int = 0, sure: float = 0.0
) -> Faces:  # fmt: skip
    """Faces of image [B, H, W, 3], largest first per image, in its own pixels, however they were found.

    detect: IMAGE -> Faces of pictures of one size. mode: "plain" looks once. "auto" looks again at the pictures where
    no face was found, or only doubtful ones: with a border for faces that fill the frame, enlarged for small pictures,
    turned by 90, 180 and 270 degrees without and with a border, until one view shows a face clearly; the view that
    shows one best counts. A picture whose faces all lie on their side is looked at once more the right way up.
    "thorough" looks at every picture in all these ways and takes what any of them finds.
    min_size: pixels that the longer side of a box must have; smaller faces are as if they were not there.
    sure: the score from which a find is no doubtful one, which depends on the detector.
    Landmarks are in the order of the view that they were found in, so a turned face's first eye is the image-left one
    of the face set upright. One host read per view. Raises ValueError for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"Unknown search {mode!r}: expected one of {', '.join(MODES)}.")
    run = Search(detect, image, min_size, sure)
    numbers = list(range(len(image)))
    for view in views(*run.size) if mode != "plain" else views(*run.size)[:1]:
        run.look(view, numbers)
        if mode == "auto":
            run.look_upright(view, numbers)
            numbers = [number for number in numbers if not run.is_sure(number)]
        if not numbers:
            break
    if mode == "auto":
        run.keep_best_view()
    return run.faces()


def views(height: int, width: int) -> list[View]:
    """All views of pictures of one size, in the order in which they are tried; the first shows it as it is."""
    size = (height, width)
    plain = View(size, 0, 0)
    # what is shrunk here keeps at least one pixel
    scale = min(1.0, CLOSE_UP_SIDE / min(size))
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    close_up = View(small, round(BORDER * min(small)), 0)
    enlarged = [View((2 * height, 2 * width), 0, 0)] if 2 * max(size) <= ENLARGED_SIDE else []
    turned = [view._replace(quarter_turns=turns) for view in (plain, close_up) for turns in (1, 2, 3)]
    return [plain, close_up, *enlarged, *turned]


def moved(faces: Faces, matrix: np.ndarray, image_size: tuple[int, int]) -> Faces:
    """Faces after a matrix [2, 3] of quarter turns, scales and shifts, which counts pixel edges from the corner."""
    if np.array_equal(matrix, np.eye(2, 3)):
        return faces

    rows = [[float(value) for value in row] for row in matrix]

    def move(points):
        # each new coordinate comes from one old one
        return tuple(tuple(row[0] * x + row[1] * y + row[2] for row in rows) for x, y in points)

    def corners(box):
        (a, b), (c, d) = move((box[:2], box[2:]))
        return min(a, c), min(b, d), max(a, c), max(b, d)

    def centres(points):
        # landmarks count pixel centres
        return tuple((x - 0.5, y - 0.5) for x, y in move((x + 0.5, y + 0.5) for x, y in points))

    turn = torch.tensor(matrix, dtype=torch.float32, device=faces.boxes.device)
    ends = faces.boxes.unflatten(1, (2, 2)) @ turn[:, :2].T + turn[:, 2]
    landmarks = (faces.landmarks + 0.5) @ turn[:, :2].T + turn[:, 2] - 0.5
    return Faces(
        torch.cat([ends.amin(1), ends.amax(1)], 1), landmarks, faces.scores, faces.image_index, faces.counts,
        image_size,
        tuple(HostFace(corners(face.box), centres(face.landmarks), face.score) for face in faces.on_host),
    )  # fmt: skip


def turn_of(landmarks: ArrayLike) -> float:
    """Degrees clockwise by which five landmarks are turned from upright, in -180..180, as they fit a face best."""
    points, upright = (np.array(five) @ [1, 1j] for five in (landmarks, DLIB_TEMPLATE))
    return math.degrees(np.angle(np.vdot(upright - upright.mean(), points - points.mean())))


def _once(finds: list[Find]) -> list[Find]:
    """The finds of one image without those of another view of a face that is already there, the best first."""
    finds = sorted(finds, key=lambda find: -find.worth)
    boxes = np.array([find.face.box for find in finds]).reshape(-1, 4)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    view = np.array([find.view for find in finds])
    kept: list[int] = []
    for i in range(len(finds)):
        # faces of one view are different faces: its detector has seen to that
        others = np.array([k for k in kept if view[k] != view[i]], int)
        extent = np.minimum(boxes[others, 2:], boxes[i, 2:]) - np.maximum(boxes[others, :2], boxes[i, :2])
        common = extent.clip(min=0).prod(1)
        if not (common > SAME_FACE * np.minimum(area[others], area[i])).any():
            kept.append(i)
    return [finds[i] for i in kept]
