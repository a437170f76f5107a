"""The face encoder: detector, alignment and descriptor in one module."""

import torch
from torch import Tensor, nn

from ..sizes import height_width
from .align.alignment import Alignment
from .align.transforms import invert, similarity_transform, transform_points, upright, warp
from .found import Faces, HostFace
from .points.landmarks68 import CHIP_SIZE, Landmarks68
from .points.landmarks68 import TEMPLATE as TEMPLATE68


class FaceEncoder(nn.Module):
    """Finds faces, aligns them for the descriptor and describes them.

    detector: module, image [B, H, W, 3] -> Candidates. embedder: module, chips as `alignment` cuts them -> [N, dim].
    space: name of the vectors' space; only vectors of one space can be compared. points68: the network behind
    `landmarks68`, the embedded one (`load_landmarks68`) whatever the detector and embedder are.
    """

    points68: Landmarks68

    def __init__(
        self, detector: nn.Module, embedder: nn.Module, space: str, dim: int, alignment: Alignment,
        points68: Landmarks68 | None = None,
    ):  # fmt: skip
        super().__init__()
        self.detector = detector
        self.embedder = embedder
        self.space = space
        self.dim = dim
        self.alignment = alignment
        if points68 is not None:
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
            tuple(in_image.count(number) for number in range(len(image))), height_width(image.shape[1:3]),
            tuple(on_host),
        )  # fmt: skip
        return faces.select("largest", "all")

    @torch.no_grad()
    def align(self, image: Tensor, faces: Faces) -> Tensor:
        """Chips [N, 3, height, width] float32 of the faces in image [B, H, W, 3], as the descriptor wants them."""
        return self.alignment.chips(image, faces, self.landmarks68)

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
        return transform_points(invert(matrices), self.points68(chips) * CHIP_SIZE - 0.5)

    @torch.no_grad()
    def embed(self, image: Tensor, faces: Faces) -> Tensor:
        """Descriptors [N, dim] float32 of the faces in image [B, H, W, 3], not normalised."""
        return self.embedder(self.align(image, faces)).float()

    def forward(self, image: Tensor, min_confidence: float = 0.5) -> tuple[Faces, Tensor]:
        """Faces and their descriptors, `detect` then `embed`."""
        faces = self.detect(image, min_confidence)
        return faces, self.embed(image, faces)
