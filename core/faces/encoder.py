"""The face encoder: detector, alignment and descriptor in one module, and the faces that it hands around."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..quoted import quoted
from ..weights.reader import read_weights
from .descriptor import DlibResNet, read_dlib_resnet
from .ffhq import FFHQ, ffhq_crop
from .geometry import apply, invert, similarity_transform, upright, warp
from .landmarks68 import CHIP_SIZE, Landmarks68, load_landmarks68
from .landmarks68 import TEMPLATE as TEMPLATE68
from .mtcnn import MTCNN
from .order import in_order
from .verify import Verified

EMBEDDED = Path(__file__).resolve().parents[2] / "embedded"

# Where dlib's get_face_chip_details (padding 0.25) puts the mean of its 68-point training shapes in a 150 x 150 chip:
# pixel = (position + 0.25) / 1.5 * 150, with the eyes as the mean of points 36-41 and 42-47, the nose tip as point 30,
# the mouth corners as points 48 and 54.
DLIB_TEMPLATE = ((47.549, 46.599), (100.476, 46.599), (74.013, 76.562), (50.415, 103.023), (97.61, 103.023))
# What MTCNN may propose where a second opinion follows. As published (0.6, 0.7, 0.7) it misses faces in deep shadow and
# in profile that the verifier knows, and what else it proposes below that the verifier drops.
DOUBTFUL = (0.5, 0.5, 0.5)


class HostFace(NamedTuple):
    """One face as read from the detector: box xyxy and five landmarks in pixels, score in 0..1."""

    box: tuple[float, ...]
    landmarks: tuple[tuple[float, float], ...]
    score: float


@dataclass(frozen=True)
class Faces:
    """All faces of a batch of images, grouped by image, largest first inside an image unless `select` ordered them.

    boxes: [N, 4] xyxy in pixels; landmarks: [N, 5, 2] in pixels (image-left eye, image-right eye, nose, left and right
    mouth corner); scores: [N] in 0..1; image_index: [N] long, all on the compute device. counts: faces per image.
    image_size: (H, W). on_host: the same faces as they were read when they were detected.
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


class FaceEncoder(nn.Module):
    """Finds faces, aligns them to the descriptor's template and describes them.

    detector: module, image [B, H, W, 3] -> Candidates. embedder: module, chips [N, 3, chip_size, chip_size] RGB in
    0..1 -> [N, dim]. space: name of the vectors' space; only vectors of one space can be compared. template: five
    (x, y) points in chip pixels, in the order of Faces.landmarks, or what cuts chips out otherwise: a callable
    (image, faces) -> chips, or FFHQ. points68: the network behind `landmarks68`, the
    embedded one (`load_landmarks68`) whatever the detector and embedder are. antialias: whether chips average the
    pixels that they leave out; without, they are those of cv2.warpAffine, which InsightFace's adapters were trained on.
    """

    def __init__(
        self, detector: nn.Module, embedder: nn.Module, space: str, dim: int, template, chip_size: int,
        points68: Landmarks68 | None = None, antialias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.detector = detector
        self.embedder = embedder
        self.space = space
        self.dim = dim
        self.template = template
        self.chip_size = chip_size
        self.antialias = antialias
        self.points68 = points68

    @property
    def sure(self) -> float:
        """The score from which the detector is as good as certain; 0 for detectors that hardly ever err."""
        return getattr(self.detector, "sure", 0.0)

    @torch.no_grad()
    def detect(self, image: Tensor, min_confidence: float = 0.5) -> Faces:
        """Faces in image [B, H, W, 3] (RGB in 0..1) with at least `min_confidence`, largest first per image.

        A detector has a threshold of its own as well: the embedded one reports nothing below 0.5.
        """
        found = self.detector(image)
        columns = (found.boxes, found.landmarks.flatten(2), found.scores[..., None], found.valid[..., None].float())
        table = torch.cat(columns, 2).tolist()  # host read: the number of faces decides every later shape
        places = [
            (number, place)
            for number, rows in enumerate(table)
            for place, row in enumerate(rows)
            if row[15] and row[14] >= min_confidence
        ]
        on_host = []
        for number, place in places:
            row = table[number][place]
            on_host.append(HostFace(tuple(row[:4]), tuple(zip(row[4:14:2], row[5:14:2], strict=True)), row[14]))
        in_image = [number for number, _ in places]
        at_place = [place for _, place in places]
        image_index, at = torch.tensor([in_image, at_place], dtype=torch.long, device=image.device)
        faces = Faces(
            found.boxes[image_index, at], found.landmarks[image_index, at], found.scores[image_index, at], image_index,
            tuple(in_image.count(number) for number in range(len(image))), tuple(image.shape[1:3]), tuple(on_host),
        )  # fmt: skip
        return faces.select("largest", "all")

    @torch.no_grad()
    def align(self, image: Tensor, faces: Faces) -> Tensor:
        """Chips [N, 3, chip_size, chip_size] float32 of the faces in image [B, H, W, 3]; of a window, its own size."""
        if callable(self.template):
            return self.template(image, faces)
        if self.template == FFHQ:
            return ffhq_crop(self, image, faces, self.chip_size)
        matrices = similarity_transform(faces.landmarks, faces.landmarks.new_tensor(self.template))
        return warp(image, faces.image_index, matrices, self.chip_size, self.antialias)

    @torch.no_grad()
    def crop(self, image: Tensor, faces: Faces, size: int) -> Tensor:
        """Upright square cut-outs [N, 3, size, size] float32, 1.6 times as wide as the longer side of the box."""
        centre = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        side = (faces.boxes[:, 2:] - faces.boxes[:, :2]).amax(1) * 1.6
        # boxes count pixel edges, transforms pixel centres
        matrices = upright(centre - 0.5, size / side, size / 2 - 0.5)
        return warp(image, faces.image_index, matrices, size, antialias=True)

    @torch.no_grad()
    def landmarks68(self, image: Tensor, faces: Faces) -> Tensor:
        """68 landmarks [N, 68, 2] float32 of the faces in image [B, H, W, 3], (x, y) in its pixels, in the order of the
        iBUG 300-W annotation: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67, each from image-left to
        image-right of an upright face."""
        matrices = similarity_transform(faces.landmarks, faces.landmarks.new_tensor(TEMPLATE68))
        chips = warp(image, faces.image_index, matrices, CHIP_SIZE, antialias=True)
        return apply(invert(matrices), self.points68(chips) * CHIP_SIZE - 0.5)

    @torch.no_grad()
    def embed(self, image: Tensor, faces: Faces) -> Tensor:
        """Descriptors [N, dim] float32 of the faces in image [B, H, W, 3], not normalised."""
        return self.embedder(self.align(image, faces)).float()

    def forward(self, image: Tensor, min_confidence: float = 0.5) -> tuple[Faces, Tensor]:
        """Faces and their descriptors, `detect` then `embed`."""
        faces = self.detect(image, min_confidence)
        return faces, self.embed(image, faces)


def load_detector(points68: Landmarks68, device=None, dtype=None, operations=nn) -> Verified:
    """The detector that ships with the pack: MTCNN, with the 68-point network for a second opinion."""
    detector = MTCNN(device, dtype, operations, thresholds=DOUBTFUL)
    detector.load_state_dict(read_weights(EMBEDDED / "mtcnn.safetensors").tensors)
    return Verified(detector, points68).eval().requires_grad_(False)


def load_embedded(device=None, dtype=None, operations=nn) -> FaceEncoder:
    """The encoder that ships with the pack: verified MTCNN and dlib's 128-number descriptor, in eval mode."""
    points68 = load_landmarks68(device, dtype, operations)
    embedder = DlibResNet(device, dtype, operations)
    embedder.load_state_dict(read_dlib_resnet(EMBEDDED / "dlib_resnet34.safetensors"))
    detector = load_detector(points68, device, dtype, operations)
    encoder = FaceEncoder(detector, embedder, "dlib-resnet34-128", 128, DLIB_TEMPLATE, 150, points68)
    return encoder.eval().requires_grad_(False)
