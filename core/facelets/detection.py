"""Faces of drawn portraits, such as the embedded generator makes: where they are and who they show."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..faces.align.alignment import FivePoints
from ..faces.align.transforms import invert, similarity_transform, transform_points, warp
from ..faces.detect.candidates import Candidates, best
from ..faces.detect.nms import overlap, suppress
from ..faces.encoder import FaceEncoder
from ..layer_types import Device, Dtype, Operations
from ..weights import WeightsError
from .networks import POINTS, STRIDE, DrawnEmbedder, LandmarkGrid, LandmarkRefiner

SPACE, DIM, CHIP_SIZE = "facelets-128", 128, 64

# The average drawn face looking straight ahead, in units of half a head's height from the middle of the head, y down.
_EYES, _NOSE, _MOUTH, _HEAD = (0.33, -0.06), 0.3, (0.27, 0.6), (0.76, 1.0)
_UNIT = 28  # chip pixels per such unit: 2.3 units fit, which takes in hairline, ears and chin
_MIDDLE = (31.5, 31.5 - 0.13 * _UNIT)


def _in_chip(x: float, y: float) -> tuple[float, float]:
    return _MIDDLE[0] + _UNIT * x, _MIDDLE[1] + _UNIT * y


TEMPLATE = (
    _in_chip(-_EYES[0], _EYES[1]), _in_chip(*_EYES), _in_chip(0, _NOSE),
    _in_chip(-_MOUTH[0], _MOUTH[1]), _in_chip(*_MOUTH),
)  # fmt: skip

PORTRAIT_SIDE = 128  # pixels of the pictures that the grid was trained on
LONGEST_SIDE = 1024  # of a picture as the grid sees it
SMALLEST_SIDE = 32  # pixels; a portrait has no features in less
CELLS, FACES = 128, 16  # places kept, best score first: cells that may vote, and faces that are refined
THRESHOLD = 0.3  # of a face's score; FaceEncoder has the user's own threshold on top
SAME_FACE, OTHER_FACE = 0.7, 0.4  # overlaps above which cells vote together, and above which the worse one is dropped


class DrawnDetector(nn.Module):
    """Finds faces in drawn portraits of the embedded generator's kind; in photographs it misses most of them.

    A picture is resized so that its shorter side is 128 pixels. Heads of 0.55 to 1.3 times the size that they have in
    such a portrait (two thirds of its height) are found, turned by up to 25 degrees either way and looking up to 25
    degrees to the side, with all five landmarks inside the picture: one face in a portrait, or several side by side
    on a wider canvas. Smaller faces in larger scenes, faces upside down and pictures under 32 pixels give nothing.

    Every cell near a face says where its landmarks are; cells that agree are averaged, weighted by score (box voting,
    Gidaris and Komodakis 2015), and a second network looks closely at the face that these align. The box is that of the
    average head (an ellipse from crown to chin, without ears, hair and hat) under the similarity transform that takes
    the average face's landmarks to the found ones.
    """

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.grid = LandmarkGrid(device, dtype, operations)
        self.refiner = LandmarkRefiner(device, dtype, operations)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Candidates:
        """image: [B, H, W, 3] float RGB in 0..1. Returns Candidates, best score first, K = 16, or 0 for pictures
        under 32 pixels."""
        batch, height, width = image.shape[:3]
        if min(height, width) < SMALLEST_SIDE:
            none = image.new_zeros(batch, 0, dtype=torch.float32)
            return Candidates(none.new_zeros(batch, 0, 4), none.new_zeros(batch, 0, POINTS, 2), none, none.bool())
        pixels, (rows, columns) = fitted(image)
        landmarks, scores, valid = self._vote(*self.grid(pixels))
        landmarks = self._refine(pixels, landmarks, valid)
        stretch = landmarks.new_tensor([width / columns, height / rows])
        boxes = head_boxes(landmarks) * stretch.repeat(2)
        return Candidates(boxes, (landmarks + 0.5) * stretch - 0.5, scores, valid)

    def _vote(self, logits: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks [B, K, 5, 2], scores and valid [B, K] of the best faces of a grid."""
        scores = logits.sigmoid().flatten(1)
        scores, valid, landmarks = best(scores, scores >= THRESHOLD, CELLS, landmarks.flatten(1, 2))
        boxes = head_boxes(landmarks)
        votes = (overlap(boxes, "union") > SAME_FACE) * scores[:, None]
        votes = votes / votes.sum(2, keepdim=True).clamp(min=1e-6)
        # sums of products, since a matrix product may be rounded to TensorFloat-32, half a pixel in 1024
        landmarks = torch.stack([(votes[..., None] * points[:, None]).sum(2) for points in landmarks.unbind(2)], 2)
        scores, valid, landmarks = best(scores, suppress(boxes, valid, OTHER_FACE), FACES, landmarks)
        return landmarks, scores, valid

    def _refine(self, pixels: Tensor, landmarks: Tensor, valid: Tensor) -> Tensor:
        """Landmarks as a closer look at `pixels` [B, 3, h, w] corrects them."""
        template = landmarks.new_tensor(TEMPLATE)
        # what empty places hold need not be a face at all, and a face of no size has no alignment
        rough = torch.where(valid[..., None, None], landmarks, template).flatten(0, 1)
        matrices = similarity_transform(rough, template)
        picture = torch.arange(len(pixels), device=pixels.device).repeat_interleave(valid.shape[1])
        chips = warp(pixels.movedim(1, -1), picture, matrices, CHIP_SIZE, antialias=True)
        return transform_points(invert(matrices), template + self.refiner(chips)).unflatten(0, valid.shape)


def fitted(image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """A picture at the size that the grid was trained on.

    image: [B, H, W, 3]. Returns float32 pixels [B, 3, h, w] with h and w multiples of 16, and the (height, width) that
    the picture itself takes of them, from the corner; the rest repeats its last row and column. The shorter side is 128
    pixels unless the longer one would exceed 1024.
    """
    height, width = image.shape[1:3]
    scale = min(PORTRAIT_SIDE / min(height, width), LONGEST_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = image.movedim(-1, 1).float()
    if (rows, columns) != (height, width):
        pixels = F.interpolate(pixels, (rows, columns), mode="bilinear", antialias=True)
    return F.pad(pixels, (0, -columns % STRIDE, 0, -rows % STRIDE), mode="replicate"), (rows, columns)


def head_boxes(landmarks: Tensor) -> Tensor:
    """Boxes [..., 4] (xyxy, counting pixel edges) around the average head that fits landmarks [..., 5, 2] best."""
    flat = landmarks.flatten(0, -3)
    to_picture = invert(similarity_transform(flat, flat.new_tensor(TEMPLATE)))
    middle = transform_points(to_picture, flat.new_tensor(_MIDDLE).expand(len(flat), 1, 2))[:, 0]
    # the box of a turned ellipse: each axis adds the square of what it reaches
    half = (to_picture[:, :, :2] * flat.new_tensor(_HEAD) * _UNIT).norm(dim=2)
    return (torch.cat([middle - half, middle + half], 1) + 0.5).unflatten(0, landmarks.shape[:-2])


def load_drawn(
    weights: dict[str, Tensor], device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> FaceEncoder:
    """The face encoder for drawn portraits from keys `detector.*` and `embedder.*`, in eval mode without gradients.

    Its vectors have 128 numbers and length 1. Raises WeightsError with one sentence if the keys or shapes are others.
    """
    detector = DrawnDetector(device, dtype, operations)
    embedder = DrawnEmbedder(device, dtype, operations)
    encoder = FaceEncoder(detector, embedder, SPACE, DIM, FivePoints(TEMPLATE, CHIP_SIZE, antialias=True))
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsError(
            "faces.safetensors is damaged: its tensors are not those of this model; fetch it again."
        ) from error
    return encoder.eval().requires_grad_(False)
