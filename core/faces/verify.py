"""A second opinion on a detector's finds: the landmarks of a face stay on it, whichever way it is cut out."""

import math

import torch
from torch import Tensor, nn

from .candidates import Candidates
from .geometry import apply, invert, similarity_transform, warp
from .landmarks68 import CHIP_SIZE, MIRRORED, TEMPLATE, Landmarks68
from .mtcnn import without_empty

# The cut-outs that are compared, each also mirrored: sides of the box, degrees of turn against the found eye line.
VIEWS = ((1.1, -12.0), (1.1, 12.0), (0.95, 0.0), (1.25, 0.0))
CUT, CUT_SIZE = 1.5, 168  # of the square that the views are taken from: sides of the box, and pixels
ABOVE = 0.05  # of a view that its middle lies below the box's: the 68 points reach from the brows to the chin
# Mean distance of a point from where all views together put it, in sides of the box. On the faces of the test
# photographs, altered in eleven ways, it is 0.014 in the middle and 0.041 at most (a profile behind a hand); on things
# that MTCNN took for faces 0.096 in the middle and 0.050 at least (a chin and neck upside down).
STEADY = 0.048
# Score of a find that is as good as certain. Of 54 labelled faces that MTCNN finds on the test photographs as they are
# and mirrored 52 reach it; the two things there and upside down that are no face and still pass here had 0.79 and 0.94.
SURE = 0.95
# Finds looked at again per image. A crowd's other faces, the ones the detector is surest of, are taken at its word.
VERIFIED = 64


class Verified(nn.Module):
    """A detector whose finds are dropped where the 68-point network finds no face in them.

    On a face the network follows the face when the cut-out is turned, mirrored and grown. On anything else its points
    go with the cut-out. The same happens on a face whose five landmarks lie the wrong way up, so those go as well.
    detector: module, image [B, H, W, 3] -> Candidates. points68: may be shared with others.
    """

    sure = SURE

    def __init__(self, detector: nn.Module, points68: Landmarks68):
        super().__init__()
        self.detector = detector
        self.points68 = points68

    @torch.no_grad()
    def forward(self, image: Tensor) -> Candidates:
        """image: [B, H, W, 3] float RGB in 0..1. Returns the detector's Candidates with fewer of them valid."""
        found = self.detector(image)
        doubt = (1 - found.scores).masked_fill(~found.valid, -1.0)
        doubt, order = doubt.topk(min(VERIFIED, doubt.shape[1]))
        at = torch.arange(len(image), device=image.device)[:, None], order
        _, valid, order, boxes, landmarks = without_empty(
            doubt, found.valid[at], order, found.boxes[at], found.landmarks[at]
        )
        # image by image, which bounds the memory of the cut-outs
        wavers = [self.unsteadiness(image[i : i + 1], boxes[i], landmarks[i], valid[i]) for i in range(len(image))]
        return found._replace(valid=found.valid.scatter(1, order, valid & (torch.stack(wavers) < STEADY)))

    @torch.no_grad()
    def unsteadiness(self, image: Tensor, boxes: Tensor, landmarks: Tensor, valid: Tensor) -> Tensor:
        """How far the 68 points stray from one view to another, [N] float32 in longer sides of the box.

        image: [1, H, W, 3]; boxes: [N, 4] xyxy and landmarks: [N, 5, 2] in pixels; valid: [N] bool, the others' numbers
        mean nothing.
        """
        # empty places may hold what has no size
        landmarks = torch.where(valid[:, None, None], landmarks, landmarks.new_tensor(TEMPLATE))
        boxes = torch.where(valid[:, None], boxes, boxes.new_tensor([0.0, 0.0, CHIP_SIZE, CHIP_SIZE]))
        first = torch.zeros(len(boxes), dtype=torch.long, device=image.device)
        cuts = warp(image, first, _upright(boxes, landmarks), CUT_SIZE, antialias=True).movedim(1, -1)
        views = cuts.new_tensor([_view(grown, math.radians(turn)) for grown, turn in VIEWS])
        matrices = views.repeat_interleave(len(cuts), 0)
        index = torch.arange(len(cuts), device=cuts.device).repeat(len(VIEWS))
        chips = warp(cuts, index, matrices, CHIP_SIZE, antialias=False)
        points = self.points68(torch.cat([chips, chips.flip(3)])) * CHIP_SIZE - 0.5
        straight, mirrored = points.chunk(2)
        mirrored = mirrored[:, list(MIRRORED)] * mirrored.new_tensor([-1, 1]) + mirrored.new_tensor([CHIP_SIZE - 1, 0])
        back = invert(matrices)
        points = (
            torch.stack([apply(back, straight), apply(back, mirrored)]).unflatten(1, (len(VIEWS), -1)).flatten(0, 1)
        )
        return (points - points.mean(0)).norm(dim=3).mean((0, 2)) * (CUT / CUT_SIZE)


def _upright(boxes: Tensor, landmarks: Tensor) -> Tensor:
    """Matrices [N, 2, 3] from the image to the square around each box in which its landmarks are upright."""
    turn = similarity_transform(landmarks, landmarks.new_tensor(TEMPLATE))[:, :, :2]
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1).clamp(min=1)
    turn = turn / turn[:, 0].norm(dim=1)[:, None, None] * (CUT_SIZE / CUT / side)[:, None, None]
    # boxes count pixel edges, transforms pixel centres
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5
    return torch.cat([turn, (CUT_SIZE - 1) / 2 - turn @ centre[..., None]], 2)


def _view(grown: float, turn: float) -> list[list[float]]:
    """Matrix [2, 3] from that square to a chip that is `grown` sides of the box wide and turned about the middle."""
    scale = CHIP_SIZE / CUT_SIZE * CUT / grown
    cosine, sine, middle = scale * math.cos(turn), scale * math.sin(turn), (CUT_SIZE - 1) / 2
    across, down = (CHIP_SIZE - 1) / 2, (CHIP_SIZE - 1) / 2 - ABOVE * CHIP_SIZE
    return [[cosine, -sine, across - (cosine - sine) * middle], [sine, cosine, down - (sine + cosine) * middle]]
