"""The faces that were found in a batch of pictures: what detectors give and everything else takes."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from ..quoted import quoted
from .order import in_order


class Landmark(IntEnum):
    """The five landmarks of a face, in the order that they have everywhere; left and right are the picture's."""

    LEFT_EYE = 0
    RIGHT_EYE = 1
    NOSE = 2
    LEFT_MOUTH = 3  # its corner
    RIGHT_MOUTH = 4


class HostFace(NamedTuple):
    """One face as read from the detector: box xyxy and the five landmarks in pixels, score in 0..1."""

    box: tuple[float, ...]
    landmarks: tuple[tuple[float, float], ...]
    score: float


@dataclass(frozen=True)
class Faces:
    """All faces of a batch of images, grouped by image, largest first inside an image unless `select` ordered them.

    boxes: [N, 4] xyxy in pixels; landmarks: [N, 5, 2] in pixels, see Landmark; scores: [N] in 0..1; image_index: [N]
    long, all on the compute device. counts: faces per image. image_size: (H, W). on_host: the same faces as they were
    read when they were detected.
    """

    boxes: Tensor
    landmarks: Tensor
    scores: Tensor
    image_index: Tensor
    counts: tuple[int, ...]
    image_size: tuple[int, int]
    on_host: tuple[HostFace, ...]

    @property
    def total(self) -> int:
        """Faces in all images together."""
        return len(self.on_host)

    def select(self, order: str, index: str) -> "Faces":
        """Faces in another order and, per image, only the wanted ones; reads nothing back from the device.

        order: one of order.ORDERS. index: "all", or positions counted from 0 in that order such as "0,2"; positions
        that an image does not have are left out. Raises ValueError for any other order or index.
        """
        wanted = parse_index(index)
        places = self.places(order)
        if wanted is not None:
            places = [[own[position] for position in wanted if position < len(own)] for own in places]
        return self.pick(places)

    def places(self, order: str) -> list[list[int]]:
        """Per image the places of its faces among all faces, as `order` numbers them. ValueError for another order."""
        places, first = [], 0
        for count in self.counts:
            own = self.on_host[first : first + count]
            places.append([first + place for place in in_order(own, order)])
            first += count
        return places

    def pick(self, places: list[list[int]]) -> "Faces":
        """The faces at some places, given for each image in the order that they shall have; no read from the device."""
        chosen = [place for own in places for place in own]
        at = torch.tensor(chosen, dtype=torch.long, device=self.boxes.device)
        return Faces(
            self.boxes[at], self.landmarks[at], self.scores[at], self.image_index[at],
            tuple(len(own) for own in places), self.image_size, tuple(self.on_host[place] for place in chosen),
        )  # fmt: skip

    def describe(self) -> list[dict]:
        """Per image its faces as plain numbers: {"faces": [{"number", "box", "landmarks", "confidence"}, ...]}."""
        described, first = [], 0
        for count in self.counts:
            found = self.on_host[first : first + count]
            first += count
            described.append({"faces": [
                {"number": number, "box": list(face.box), "landmarks": [list(point) for point in face.landmarks],
                 "confidence": face.score}
                for number, face in enumerate(found)
            ]})  # fmt: skip
        return described

    @staticmethod
    def concatenate(parts: list["Faces"]) -> "Faces":
        """Faces of consecutive parts of one batch as faces of the whole batch."""
        starts = [sum(len(part.counts) for part in parts[:number]) for number in range(len(parts))]
        return Faces(
            torch.cat([part.boxes for part in parts]),
            torch.cat([part.landmarks for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.image_index + start for part, start in zip(parts, starts, strict=True)]),
            sum((part.counts for part in parts), ()),
            parts[0].image_size,
            sum((part.on_host for part in parts), ()),
        )


def parse_index(index: str) -> list[int] | None:
    """Positions in a face index such as "0,2", each once, or None for "all"; ValueError for anything else."""
    if index.strip() == "all":
        return None
    parts = [part.strip() for part in index.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError(
            f'Face index {quoted(index)} is not understood: write "all", or positions from 0 such as "0,2".'
        )
    return list(dict.fromkeys(int(part) for part in parts))
