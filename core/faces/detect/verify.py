"""A second opinion on a detector's finds: the landmarks of a face stay on it, whichever way it is cut out."""

import math

import torch
from torch import Tensor, nn

from ..align.transforms import invert, similarity_transform, transform_points, warp
from ..points.landmarks68 import CHIP_SIZE, MIRRORED, TEMPLATE, Landmarks68, five_of
from .candidates import Candidates, best, without_empty
from .nms import suppress

# Views that are compared, each also mirrored: sides of the box, and degrees of turn against the found eye line. The
# last two are taken on the three other sides as well.
VIEWS = ((1.1, -12.0), (1.1, 12.0), (0.95, 0.0), (1.25, 0.0))
SIDES = tuple((grown, side + turn) for side in (90.0, 180.0, 270.0) for grown, turn in VIEWS[2:])
CUT, CUT_SIZE = 1.5, 168  # of the square that the views are taken from: sides of the box, and pixels
ABOVE = 0.05  # of a view that its middle lies below the box's: the 68 points reach from the brows to the chin
# Mean distance of a point from where all views together put it, in sides of the box. On the faces of the test
# photographs that are doubtful, altered in eleven ways, it is 0.014 in the middle, 0.035 for 99 in 100 and 0.041 at
# most (a profile behind a hand); on things that MTCNN took for faces 0.096 in the middle and 0.050 at least (a chin and
# neck upside down).
STEADY = 0.046
# Degrees between the eye lines of the 68 points and of the detector's five: 18 at most on those faces, 24 to 45 where
# the five landmarks of a face that lies on its side are half way between its sides.
TILT = 21.0
# A score from which on a find is taken at MTCNN's word, as half of all faces are. It gives things that are no face
# 0.991 at most, and faces whose landmarks lie the wrong way up 0.998.
CERTAIN = 0.9995
# Score of a find that is as good as certain after the second opinion. Of 54 labelled faces that MTCNN finds on the test
# photographs as they are and mirrored 52 reach it.
SURE = 0.95
# Of the smaller box: what two finds of one face have in common. MTCNN itself drops the worse one from 0.7 on.
SAME_FACE = 0.6
# Finds looked at again per image, the least certain ones; more than these are taken at its word as well.
VERIFIED = 32


class Verified(nn.Module):
    """A detector whose finds are dropped where the 68-point network finds no face in them.

    On a face the 68 points stay where they are when the cut-out is turned, mirrored and grown, and they are steadiest
    the right way up. On anything else they go with the cut-out. A find is dropped if its points waver, if they are
    steadier on another of the four sides, or if their eye line is not the detector's: the last two are faces whose five
    landmarks lie the wrong way up. Of two finds of one face the better one stays.
    detector: module, image [B, H, W, 3] -> Candidates, best score first. points68: may be shared with others.
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
        doubtful = found.valid & (found.scores < CERTAIN)
        places = torch.arange(found.valid.shape[1], device=image.device).expand_as(doubtful)
        columns = best(1 - found.scores, doubtful, VERIFIED, places, found.boxes, found.landmarks)
        _, doubtful, places, boxes, landmarks = without_empty(*columns)
        # image by image, which bounds the memory of the cut-outs
        faces = [self.is_face(image[i : i + 1], boxes[i], landmarks[i], doubtful[i]) for i in range(len(image))]
        dropped = torch.zeros_like(found.valid).scatter(1, places, doubtful & ~torch.stack(faces))
        return found._replace(valid=suppress(found.boxes, found.valid & ~dropped, SAME_FACE, "min"))

    def is_face(self, image: Tensor, boxes: Tensor, landmarks: Tensor, valid: Tensor) -> Tensor:
        """Which finds in one image are faces the right way up, [N] bool; the parameters of `measure`."""
        waver, other_side, tilt = self.measure(image, boxes, landmarks, valid)
        return (waver < STEADY) & (other_side > 1) & (tilt < TILT)

    @torch.no_grad()
    def measure(self, image: Tensor, boxes: Tensor, landmarks: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the 68 points say about finds in one image, three times [N] float32.

        image: [1, H, W, 3]; boxes: [N, 4] xyxy and landmarks: [N, 5, 2] in pixels; valid: [N] bool, the others' numbers
        mean nothing. How far the points stray from one view to another, in longer sides of the box; how much farther
        they do so on the best of the other three sides; and degrees between their eye line and that of the landmarks.
        """
        # empty places may hold what has no size
        landmarks = torch.where(valid[:, None, None], landmarks, landmarks.new_tensor(TEMPLATE))
        boxes = torch.where(valid[:, None], boxes, boxes.new_tensor([0.0, 0.0, CHIP_SIZE, CHIP_SIZE]))
        index = torch.zeros(len(boxes), dtype=torch.long, device=image.device)
        cuts = warp(image, index, _upright(boxes, landmarks), CUT_SIZE, antialias=True).movedim(1, -1)
        points = self._points(cuts)
        upright = points[:, : len(VIEWS)]
        sides = [_stray(points[:, first : first + 2]) for first in range(2, points.shape[1], 2)]
        seen = similarity_transform(five_of(upright.mean((0, 1))), points.new_tensor(TEMPLATE))
        tilt = torch.atan2(seen[:, 1, 0], seen[:, 0, 0]).abs().rad2deg()
        return _stray(upright) * (CUT / CUT_SIZE), torch.stack(sides[1:]).amin(0) / sides[0], tilt

    def _points(self, cuts: Tensor) -> Tensor:
        """The 68 points in cut-outs [N, s, s, 3], as VIEWS and SIDES show them and mirrored: [2, V, N, 68, 2]."""
        views = [_view(grown, math.radians(turn)) for grown, turn in VIEWS + SIDES]
        matrices = cuts.new_tensor(views).repeat_interleave(len(cuts), 0)
        index = torch.arange(len(cuts), device=cuts.device).repeat(len(views))
        chips = warp(cuts, index, matrices, CHIP_SIZE, antialias=False)
        points = self.points68(torch.cat([chips, chips.flip(3)])) * CHIP_SIZE - 0.5
        straight, mirrored = points.chunk(2)
        mirrored = mirrored[:, list(MIRRORED)] * mirrored.new_tensor([-1, 1]) + mirrored.new_tensor([CHIP_SIZE - 1, 0])
        back = invert(matrices)
        both = torch.stack([transform_points(back, straight), transform_points(back, mirrored)])
        return both.unflatten(1, (len(views), -1))


def _stray(points: Tensor) -> Tensor:
    """Mean distance of points [2, V, N, 68, 2] from where all views together put them, [N]."""
    return (points - points.mean((0, 1))).norm(dim=4).mean((0, 1, 3))


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
