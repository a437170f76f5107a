"""MTCNN face detection, batch first, with no host read between the image and the fixed-shape result."""

import torch
from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ..align.area import crop, integral_image, resize
from .candidates import Candidates, best, padded, without_empty
from .mtcnn_networks import ONet, PNet, RNet, normalise
from .nms import suppress

SMALLEST_FACE = 20
PYRAMID_FACTOR = 0.709
THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks
PROPOSAL_WINDOW, PROPOSAL_STRIDE = 12, 2

# Places kept, best score first: windows per pyramid scale, crops for the second network, crops for the third.
PER_SCALE, REFINED, FACES = 1024, 2048, 512
# Images are taken through the cascade in groups of at most this many pixels, and at least one image.
GROUP_PIXELS = 2**22


def pyramid(height: int, width: int) -> list[tuple[float, int, int]]:
    """Scales at which a face between SMALLEST_FACE and the image's size fills the proposal window: (scale, h, w)."""
    scale = PROPOSAL_WINDOW / SMALLEST_FACE
    side = min(height, width) * scale
    levels = []
    while side >= PROPOSAL_WINDOW:
        levels.append((scale, int(height * scale + 1), int(width * scale + 1)))
        scale, side = scale * PYRAMID_FACTOR, side * PYRAMID_FACTOR
    return levels


def squared(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] grown about their centre to squares of their longer side."""
    extent = boxes[..., 2:] - boxes[..., :2]
    side = extent.amax(-1, keepdim=True)
    corner = boxes[..., :2] + extent * 0.5 - side * 0.5
    return torch.cat([corner, corner + side], -1)


def refined(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes [..., 4] moved by offsets [..., 4] in units of their own size, the last pixel counted in."""
    extent = boxes[..., 2:] - boxes[..., :2] + 1
    return boxes + offsets * torch.cat([extent, extent], -1)


class MTCNN(nn.Module):
    """Multi-task cascaded face detector (Zhang et al. 2016), the parameters of facenet-pytorch's `detect_face`.

    Faces from 20 pixels; thresholds 0.6, 0.7, 0.7 unless others are given; pyramid factor 0.709; non-maximum
    suppression at overlaps 0.5 inside a scale, 0.7 between scales and after the second network, 0.7 of the smaller box
    at the end.

    Caps, because every shape is fixed: 1024 windows per pyramid scale, 2048 crops for the second network and 512 for
    the third, hence at most 512 faces per image (on the CPU empty places are left out). Beyond a cap the lowest scores
    are dropped: a crowd of 100 faces keeps every face, one of 250 loses about one in ten.
    Memory is bounded by one group of images of at most 4 megapixels, or by one larger image: the integral image takes
    24 bytes per pixel and the first network's widest map 14.
    """

    def __init__(
        self, device: Device = None, dtype: Dtype = None, operations: Operations = nn, *,
        thresholds: tuple[float, ...] = THRESHOLDS,
    ):  # fmt: skip
        super().__init__()
        self.thresholds = thresholds
        self.pnet = PNet(device, dtype, operations)
        self.rnet = RNet(device, dtype, operations)
        self.onet = ONet(device, dtype, operations)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Candidates:
        """image: [B, H, W, 3] float RGB in 0..1. Returns Candidates, best score first, K <= 512 (0 below 20 pixels)."""
        group = max(1, GROUP_PIXELS // (image.shape[1] * image.shape[2]))
        parts = [self._cascade(images) for images in image.split(group)]
        places = max(part.valid.shape[1] for part in parts)
        return Candidates(*(torch.cat([padded(t, places) for t in tensors]) for tensors in zip(*parts, strict=True)))

    def _cascade(self, image: Tensor) -> Candidates:
        # the networks were trained on 8-bit pixels, and whole numbers make the crops' sums exact
        sums = integral_image((image.float() * 255).round().clamp(0, 255).to(torch.int32))
        boxes, valid = self._propose(sums)
        boxes, valid = self._refine(sums, boxes, valid)
        return self._output(sums, boxes, valid)

    def _propose(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """First network over the pyramid: [B, n, 4] square boxes and [B, n] valid, n <= REFINED."""
        found = [self._propose_at(sums, *level) for level in pyramid(sums.shape[1] - 1, sums.shape[2] - 1)]
        if not found:
            none = sums.new_zeros((len(sums), 0), dtype=torch.bool)
            return none[..., None].expand(-1, -1, 4).float(), none
        scores, valid, boxes, offsets = (torch.cat(tensors, 1) for tensors in zip(*found, strict=True))
        scores, valid, boxes, offsets = without_empty(*best(scores, valid, REFINED, boxes, offsets))
        _, valid, boxes, offsets = without_empty(scores, suppress(boxes, valid, 0.7), boxes, offsets)
        extent = boxes[..., 2:] - boxes[..., :2]
        return squared(boxes + offsets * torch.cat([extent, extent], -1)), valid

    def _propose_at(self, sums: Tensor, scale: float, height: int, width: int) -> tuple[Tensor, ...]:
        """Scores, valid, boxes and offsets of the best windows of one pyramid level."""
        face, offsets = self.pnet(normalise(resize(sums, height, width)))
        columns = face.shape[2]
        scores, index = face.flatten(1).topk(min(PER_SCALE, face[0].numel()))
        offsets = offsets.flatten(2).gather(2, index[:, None].expand(-1, 4, -1)).transpose(1, 2)
        cell = torch.stack([index % columns, index // columns], -1).float() * PROPOSAL_STRIDE
        boxes = torch.cat([((cell + 1) / scale).floor(), ((cell + PROPOSAL_WINDOW) / scale).floor()], -1)
        scores, valid, boxes, offsets = without_empty(scores, scores >= self.thresholds[0], boxes, offsets)
        return scores, suppress(boxes, valid, 0.5), boxes, offsets

    def _refine(self, sums: Tensor, boxes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Second network on the proposals: [B, n, 4] square boxes and [B, n] valid, n <= FACES."""
        crops, inside = self._crops(sums, boxes, 24)
        scores, offsets = (output.unflatten(0, boxes.shape[:2]) for output in self.rnet(crops))
        valid = valid & inside & (scores > self.thresholds[1])
        scores, valid, boxes, offsets = without_empty(*best(scores, valid, REFINED, boxes, offsets))
        # duplicates go before the cap, or a crowd's best faces would crowd out its other faces
        found = best(scores, suppress(boxes, valid, 0.7), FACES, boxes, offsets)
        _, valid, boxes, offsets = without_empty(*found)
        return squared(refined(boxes, offsets)), valid

    def _output(self, sums: Tensor, boxes: Tensor, valid: Tensor) -> Candidates:
        """Third network: the faces with their landmarks."""
        crops, inside = self._crops(sums, boxes, 48)
        scores, offsets, points = (output.unflatten(0, boxes.shape[:2]) for output in self.onet(crops))
        extent = boxes[..., 2:] - boxes[..., :2] + 1
        landmarks = points * extent[..., None, :] + boxes[..., None, :2] - 1
        valid = valid & inside & (scores > self.thresholds[2])
        scores, valid, boxes, landmarks = best(scores, valid, FACES, refined(boxes, offsets), landmarks)
        valid = suppress(boxes, valid, 0.7, "min")
        return Candidates(boxes, landmarks, scores, valid)

    def _crops(self, sums: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The part of each box inside the image, stretched to the network's input: [B * n, 3, size, size], and [B, n].

        The published detector counts pixels from 1, truncates the corners and cuts the box at the image's border.
        """
        limit = torch.tensor([sums.shape[2] - 1, sums.shape[1] - 1], device=sums.device)
        whole = boxes.trunc().long()
        first = whole[..., :2].clamp(min=1) - 1
        extent = torch.minimum(whole[..., 2:], limit) - first
        inside = (extent > 0).all(-1)
        first = torch.minimum(first, limit - 1)
        crops = crop(sums, first, torch.where(inside[..., None], extent, 1), size)
        return normalise(crops).flatten(0, 1), inside
