"""Masks of faces, rasterised on their device for all faces at once: boxes, hulls of 68 landmarks, parsed regions.

An edge is hard, or a ramp that is centred on it and `soft` times as wide as the face's box. Nothing is read back: where
to look for a face is known from `Faces.on_host`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..align.transforms import similarity_transform, transform_points, warp
from ..found import Faces
from .overlay import box_masks
from .parser import CLASSES, SIDE

MASKS = ("box", "landmarks", "parser")
# What belongs to a face: no ears, no neck, no hair.
FACE_CLASSES = tuple(
    CLASSES.index(name)
    for name in ("skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "nose", "mouth", "u_lip", "l_lip")
)
# Where facexlib puts the five landmarks in the 512 x 512 portraits that its parser is fed with.
PARSER_TEMPLATE = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
                   (313.08905, 371.15118))  # fmt: skip
_PARSER_FACE = 270  # pixels that a face is wide there
_AROUND = 0.25  # of a face's width around its hull is where the parser is believed: what is farther is a neighbour

_REACH = 1.0  # a window around a face goes so far from the box's centre, in lengths of its longer side
_PIXELS = 1 << 23  # of windows rasterised at once, 32 MB for each tensor

_BROWS, _NOSE_BASE = slice(17, 27), 33
# How far each brow point goes up towards the hairline, in thirds of the face: less at the temples.
_LIFT = (0.6, 0.8, 0.92, 0.98, 1.0, 1.0, 0.98, 0.92, 0.8, 0.6)


def boxes(faces: Faces, soft: float = 0.0) -> Tensor:
    """One mask per image [B, H, W], 1 inside the boxes of its faces."""
    if soft == 0:
        return box_masks(faces)

    def inside(part, pixels):
        # box edges count pixel edges, pixels their centres
        left, top, right, bottom = (part.boxes - 0.5)[:, :, None, None].unbind(1)
        x, y = pixels.unbind(-1)
        return torch.stack([x - left, right - x, y - top, bottom - y]).amin(0)

    return _rasterised(faces, inside, soft)


def hulls(faces: Faces, points: Tensor, soft: float = 0.0) -> Tensor:
    """One mask per image [B, H, W], 1 inside the hulls of its faces' 68 landmarks [N, 68, 2] and their foreheads."""
    outline = with_forehead(points)
    return _rasterised(faces, lambda part, pixels: hull_distance(outline[part.rows], pixels), soft)


def with_forehead(points: Tensor) -> Tensor:
    """68 landmarks and ten more along the hairline, [N, 68, 2] -> [N, 78, 2].

    The 68 end at the brows. By the rule of thirds a forehead is as high as the way from the brows to the base of the
    nose, so each brow point is moved on by that way, those at the temples by 0.6 of it.
    """
    brows = points[:, _BROWS]
    up = brows.mean(1) - points[:, _NOSE_BASE]
    return torch.cat([points, brows + points.new_tensor(_LIFT)[:, None] * up[:, None]], 1)


def hull_distance(points: Tensor, pixels: Tensor) -> Tensor:
    """How far pixels [N, h, w, 2] lie inside the convex hulls of points [N, P, 2], negative outside -> [N, h, w].

    Inside it is the distance to the nearest edge's line, outside to the farthest of the lines that it is beyond.
    """
    start, along = hull_edges(points)
    distance = torch.full_like(pixels[..., 0], torch.inf)
    for number in range(points.shape[1]):
        x, y = start[:, number, :, None, None].unbind(1)
        right, down = along[:, number, :, None, None].unbind(1)
        own = right * (pixels[..., 1] - y) - down * (pixels[..., 0] - x)
        # a point inside the hull begins no edge
        own = torch.where((right == 0) & (down == 0), torch.inf, own)
        distance = torch.minimum(distance, own)
    return torch.where(distance.isinf(), -torch.inf, distance)  # all points in one place: a hull of nothing


def hull_edges(points: Tensor) -> tuple[Tensor, Tensor]:
    """The edge of the convex hull that begins at each point: points [N, P, 2] -> where, and which way, [N, P, 2] each.

    The way has length 1, and length 0 at points that begin no edge; all of the hull lies on its right in a picture. An
    edge is a pair of points with no other on its left, the farthest such pair where several lie on one line.
    """
    between = points[:, None] - points[:, :, None]  # from [i] to [j]
    length = between.norm(dim=3)
    along = between / length.clamp(min=1e-6)[..., None]
    edge = length > 1e-3
    for number in range(points.shape[1]):
        there = points[:, number, None] - points
        right = along[..., 0] * there[:, :, None, 1] - along[..., 1] * there[:, :, None, 0]
        edge = edge & (right > -1e-3)  # pixels; what float32 leaves of zero
    farthest = (length * edge).argmax(2, keepdim=True)
    along = along * edge[..., None]
    return points, along.gather(2, farthest[..., None].expand(-1, -1, -1, 2))[:, :, 0]


def parsed(
    faces: Faces, points: Tensor, image: Tensor, parse: Callable[[Tensor, Sequence[int]], Tensor], soft: float = 0.0
) -> Tensor:  # fmt: skip
    """One mask per image [B, H, W], 1 where a parser sees skin, brows, eyes, glasses, nose or mouth of its faces.

    points: [N, 68, 2] landmarks; image: [B, H, W, 3] on the faces' device; parse: upright portraits [n, 512, 512, 3]
    and classes -> how likely each cell is of each class [n, K, 512, 512].
    """
    outline = with_forehead(points)
    matrices = similarity_transform(faces.landmarks, faces.landmarks.new_tensor(PARSER_TEMPLATE))

    def inside(part, pixels):
        rows = part.rows
        chips = warp(image, part.image_index, matrices[rows], SIDE, antialias=True).movedim(1, -1)
        likely = parse(chips, FACE_CLASSES).sum(1, keepdim=True)
        if soft:
            likely = _blurred((likely > 0.5).float(), soft * _PARSER_FACE)
        places = transform_points(matrices[rows], pixels.flatten(1, 2)).unflatten(1, pixels.shape[1:3])
        values = F.grid_sample(likely, (places + 0.5) / SIDE * 2 - 1, align_corners=False)[:, 0]
        near = hull_distance(outline[rows], pixels) > -_AROUND * part.widths
        return values * near

    return _rasterised(faces, inside, soft, values=True)


def _blurred(pixels, width):
    """[N, 1, h, w] with edges made ramps about `width` pixels wide."""
    reach = max(1, round(width / 4))
    for _ in range(2):
        pixels = F.avg_pool2d(pixels, 2 * reach + 1, 1, reach, count_include_pad=False)
    return pixels


class _Part:
    """Some of the faces: which rows of the tensors they are, and what rasterising needs of them."""

    def __init__(self, faces, first, last):
        self.rows = slice(first, last)
        self.boxes = faces.boxes[self.rows]
        self.image_index = faces.image_index[self.rows]
        self.widths = (self.boxes[:, 2] - self.boxes[:, 0])[:, None, None]
        self.on_host = faces.on_host[self.rows]


def _rasterised(faces, inside, soft, values=False):
    """Masks [B, H, W] from inside(part, pixels), a distance in pixels or with `values` the mask itself up to softness.

    Each face is looked at in a square window around it. All windows of a part are of one size.
    """
    height, width = faces.image_size
    count = len(faces.counts) * height * width
    masks = torch.zeros(count + 1, device=faces.boxes.device)  # the last one takes what lies outside the picture
    first = 0
    while first < faces.total:
        side, last = _windows(faces.on_host, first, max(height, width))
        part = _Part(faces, first, last)
        corners = [_corner(face.box, side) for face in part.on_host]
        corners = torch.tensor(corners, device=masks.device)[:, None, None]
        axis = torch.arange(side, device=masks.device)
        pixels = corners + torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
        value = inside(part, pixels.float())
        if values:
            value = value if soft else (value > 0.5).float()
        elif soft:
            value = (0.5 + value / (soft * part.widths)).clamp(0, 1)
        else:
            value = (value >= 0).float()
        x, y = pixels.unbind(-1)
        seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        place = torch.where(seen, (part.image_index[:, None, None] * height + y) * width + x, count)
        masks.scatter_reduce_(0, place.flatten(), value.flatten(), "amax")
        first = last
    return masks[:count].view(len(faces.counts), height, width)


def _windows(on_host, first, longest):
    """Side of the windows of a part that begins at face `first`, and where the part ends."""
    side, last = 0, first
    while last < len(on_host):
        wider = max(side, min(_side(on_host[last].box), 2 * longest))
        if last > first and (last + 1 - first) * wider * wider > _PIXELS:
            break
        side, last = wider, last + 1
    return side, last


def _side(box):
    return 2 * math.ceil(_REACH * max(box[2] - box[0], box[3] - box[1], 1))


def _corner(box, side):
    return [math.floor((box[0] + box[2]) / 2) - side // 2, math.floor((box[1] + box[3]) / 2) - side // 2]
