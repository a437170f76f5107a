"""Teaching the last layers of a random SCRFD by least squares where faces are, so that whole chains can be compared.

Random features tell places apart well enough for a linear layer to find the faces of the pictures that it was fitted
to, and little else: no detector to use, but boxes and key points of real faces, from any seed and width.
"""

import torch
from torch.nn import functional as F

from references.scrfd import ANCHORS, POINTS, SCRFD, STRIDES

SIZES = ((16, 32), (64, 128), (256, 512))  # of the two anchors per stride, pixels
# Eyes, nose and corners of the mouth within a face's box, its centre at 0 and its edges at -1 and 1: x, y
FACE = torch.tensor([[-0.35, -0.2], [0.35, -0.2], [0.0, 0.15], [-0.28, 0.5], [0.28, 0.5]])
_EMPTY = 800  # cells without a face that are used, per picture and stride
_SLOPE = 8.0  # of the logit over the fitted score, -1 for nothing and 1 for a face


@torch.no_grad()
def aim(detector: SCRFD, pictures: list[tuple[torch.Tensor, torch.Tensor]], seed: int = 0) -> SCRFD:
    """Fit the layers cls, reg and kps. Returns the detector.

    pictures: pairs of pixels [1, 3, H, W] as the detector takes them and the faces' boxes [N, 4], xyxy, in its pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    for scale in detector.scales:
        if hasattr(scale, "scale"):
            scale.scale.copy_(torch.empty(()).uniform_(0.9, 1.1, generator=generator))
    seen, maps = [[], [], []], []
    for pixels, faces in pictures:
        for level, features in enumerate(detector.levels(pixels)):
            maps.append((level, features))
            seen[level].append(_rows(detector, level, features, faces))
    heads = [[0, 1, 2]] if detector.config.shared else [[0], [1], [2]]
    for levels in heads:
        samples = [sample for level in levels for sample in seen[level]]
        _fit(detector.head(levels[0]), samples, levels, generator)
    _set_threshold(detector, maps, 4 * sum(len(faces) for _, faces in pictures))
    return detector


def _set_threshold(detector, maps, count):
    """Shift all logits so that about `count` anchors exceed 0, with none near it."""
    logits = torch.cat([detector.head(level).cls(features).flatten() for level, features in maps])
    highest = logits.topk(count + 10).values[count - 10 :]
    widest = (highest[:-1] - highest[1:]).argmax()
    for head in detector.heads:
        head.cls.bias -= highest[widest : widest + 2].mean()


def _rows(detector, level, features, faces):
    """(inputs [cells, 9C], truth [cells, 2] of -1, 0 (leave out) and 1, boxes [cells, 4], points [cells, 10])."""
    stride, (height, width) = STRIDES[level], features.shape[2:]
    inputs = F.unfold(features, 3, padding=1)[0].T
    y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
    cells = torch.stack([x, y], -1).reshape(-1, 2).float()
    truth = -torch.ones(len(cells), ANCHORS)
    boxes, points = torch.zeros(len(cells), 4), torch.zeros(len(cells), 2 * POINTS)
    for face in faces:
        centre, half = (face[:2] + face[2:]) / 2, (face[2:] - face[:2]) / 2
        away = (cells - centre).abs()
        inside = (away < 1.3 * half + stride).all(1)
        near = (away <= torch.maximum(0.2 * half, torch.tensor(0.75 * stride))).all(1)
        boxes[inside] = torch.cat([cells[inside] - face[:2], face[2:] - cells[inside]], 1) / stride
        where = (centre + FACE * half).flatten() - cells[inside].repeat(1, POINTS)
        points[inside] = where / stride
        size = float((4 * half.prod()).sqrt())
        for anchor, own in enumerate(SIZES[level]):
            fits = max(size / own, own / size) <= 1.8
            truth[inside, anchor] = truth[inside, anchor].clamp_min(0)
            if fits:
                truth[near, anchor] = 1
    boxes /= getattr(detector.scales[level], "scale", torch.tensor(1.0))
    kept = (truth >= 0).any(1)
    kept[level :: max(1, len(cells) // _EMPTY)] = True  # empty cells are plenty
    return inputs[kept].double(), truth[kept], boxes[kept], points[kept]


def _fit(head, samples, levels, generator):
    inputs, truth, boxes, points = (torch.cat(parts) for parts in zip(*samples, strict=True))
    mean = inputs.mean(0)
    inputs = inputs - mean
    for anchor in range(ANCHORS):
        chosen = truth[:, anchor] != 0
        found = truth[:, anchor] > 0
        weight = torch.where(found, max(1.0, float((~found & chosen).sum() / max(1, found.sum())) / 4), 1.0)
        goal = truth[:, anchor : anchor + 1].double()
        parts = [(head.cls, slice(anchor, anchor + 1), *_solve(inputs, goal, weight * chosen, 1e-4))]
        size = sum(SIZES[level][anchor] / STRIDES[level] for level in levels) / len(levels) / 2
        usual = size * torch.ones(4), size * FACE.flatten()
        for layer, truths, plain in ((head.reg, boxes, usual[0]), (head.kps, points, usual[1])):
            if layer is None:
                continue
            columns = truths.shape[1]
            if found.any():
                matrix, bias = _solve(inputs[found], truths[found].double(), None, 0.3)
            else:
                matrix, bias = torch.zeros(inputs.shape[1], columns).double(), plain.double()
            noise = torch.randn(matrix.shape, generator=generator) * 0.01 * size / inputs.pow(2).sum(1).mean().sqrt()
            parts.append((layer, slice(anchor * columns, (anchor + 1) * columns), matrix + noise, bias))
        for layer, place, matrix, bias in parts:
            layer.weight[place] = matrix.T.reshape(layer.weight[place].shape).float()
            layer.bias[place] = (bias - mean @ matrix).float()
    head.cls.weight *= _SLOPE
    head.cls.bias *= _SLOPE


def _solve(inputs, goals, weight, ridge):
    """Ridge regression with an intercept: (matrix [inputs, goals], intercept [goals])."""
    weight = torch.ones(len(inputs)).double() if weight is None else weight.double()
    weight = (weight / weight.sum())[:, None]
    centre, middle = (weight * inputs).sum(0), (weight * goals).sum(0)
    inputs, goals = inputs - centre, goals - middle
    square = inputs.T @ (weight * inputs)
    square.diagonal().add_(ridge * square.diagonal().mean())
    matrix = torch.linalg.solve(square, inputs.T @ (weight * goals))
    return matrix, middle - centre @ matrix
