"""SCRFD face detection (Guo et al. 2021) from InsightFace's `.onnx` files, batched, on any device."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...graph import GraphModule, UnknownGraph, build
from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError
from ...weights.onnx_file import OnnxModel
from ..align.resize import resize_bilinear
from .candidates import Candidates, best, without_empty
from .nms import suppress

MEAN, DEVIATION = 127.5, 128.0
# Pixels of the square that the picture is fitted into, and looked at in turn: the smaller one finds faces that fill it.
SIZES = (128, 640)
THRESHOLD = 0.1  # of a face's score; FaceEncoder has the user's own threshold on top
STRIDES = (8, 16, 32, 64, 128)
SAME_FACE = 0.4  # overlap above which the worse of two boxes is dropped
CANDIDATES, FACES = 2048, 512  # places kept, best score first: anchors before suppression, and faces
_AFTER_CONVOLUTIONS = {"Sigmoid", "Reshape", "Transpose", "Flatten", "Identity", "Squeeze", "Unsqueeze"}


class SCRFD(nn.Module):
    """A detector with anchors at strides 8, 16, 32 (and 64, 128), their boxes and five landmarks.

    The file's own last steps put anchors in rows, which mixes the pictures of a batch up in the published exports; they
    are cut off and done here. A picture is fitted into a square from its upper left corner, with black beside it.
    """

    def __init__(self, graph: GraphModule, heads: tuple["Head", ...], sizes: tuple[int, ...]):
        super().__init__()
        self.graph = graph
        self.heads = heads
        self.sizes = sizes

    @torch.no_grad()
    def forward(self, image: Tensor) -> Candidates:
        """image: [B, H, W, 3] float RGB in 0..1. Returns Candidates, best score first, K <= 512."""
        found = [self._look(image, size) for size in self.sizes]
        scores, boxes, landmarks = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        valid = scores >= THRESHOLD
        scores, valid, boxes, landmarks = without_empty(*best(scores, valid, CANDIDATES, boxes, landmarks))
        valid = suppress(boxes, valid, SAME_FACE, "union of pixels")
        scores, valid, boxes, landmarks = best(scores, valid, FACES, boxes, landmarks)
        return Candidates(boxes, landmarks, scores, valid)

    def _look(self, image: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B, N], boxes [B, N, 4] and landmarks [B, N, 5, 2] of all anchors, in pixels of the image."""
        pixels, scale = fitted(image, size)
        maps = self.graph(pixels.sub(MEAN).div(DEVIATION).to(self.graph.dtype))
        by_name = dict(zip(self.graph.outputs, maps, strict=True))
        parts = [head.decode(by_name, size) for head in self.heads]
        scores, boxes, landmarks = (torch.cat(values, 1) for values in zip(*parts, strict=True))
        return scores, boxes / scale, landmarks / scale


class Head:
    """The three maps of one stride: their names in the graph, and whether scores are still logits."""

    def __init__(self, stride: int, names: tuple[str, str, str], anchors: int, is_logit: bool):
        self.stride, self.names, self.anchors, self.is_logit = stride, names, anchors, is_logit

    def decode(self, maps: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Scores [B, N], boxes [B, N, 4], landmarks [B, N, 5, 2] in pixels of the square.

        Distances are in units of the stride, from the corner of the anchor's cell, as in the published code.
        """
        scores, sides, points = (maps[name].float().permute(0, 2, 3, 1).flatten(1, 2) for name in self.names)
        scores = (scores.sigmoid() if self.is_logit else scores).flatten(1)
        cells = torch.arange(-(-size // self.stride), device=scores.device, dtype=torch.float32) * self.stride
        centre = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), -1).flatten(0, 1)
        centre = centre.repeat_interleave(self.anchors, 0)
        sides = sides.reshape(len(sides), -1, 4) * self.stride
        boxes = torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1)
        points = points.reshape(len(points), -1, 5, 2) * self.stride
        return scores, boxes, centre[:, None] + points


def fitted(image: Tensor, size: int) -> tuple[Tensor, float]:
    """Pictures [B, H, W, 3] in 0..1 in the corner of a black square [B, 3, size, size] in 0..255, and their scale."""
    height, width = image.shape[1:3]
    # the published order of operations, because it decides which way a size is truncated
    if height > width:
        new_height, new_width = size, max(1, int(size / (height / width)))
    else:
        new_height, new_width = max(1, int(size * (height / width))), size
    pixels = (image.float() * 255).round().clamp(0, 255).to(torch.int32)
    pixels = resize_bilinear(pixels, new_height, new_width).movedim(-1, 1).float()
    return F.pad(pixels, (0, size - new_width, 0, size - new_height)), new_height / height


def load_scrfd(model: OnnxModel, device: Device = None, dtype: Dtype = None, operations: Operations = nn) -> SCRFD:
    """The detector of an `.onnx` file, by its outputs' sizes whatever their names and order.

    Raises UnknownGraph for a detector of another kind or without landmarks, WeightsError for a damaged one.
    """
    traced = {output: _source(model, output) for output in model.outputs}
    names = tuple(dict.fromkeys(source for source, _ in traced.values()))
    logits = {source for source, is_logit in traced.values() if is_logit}
    graph = build(model, names, size=SIZES[-1], device=device, dtype=dtype, operations=operations)
    height, width = graph.input_shape[2:] or (None, None)
    if height != width or graph.checked_shape[1] != 3:
        raise UnknownGraph(f"{model.name} does not take square pictures of three colours; choose another detector.")
    sizes = (width,) if width else SIZES
    heads = _heads(model.name, sizes[-1], graph, logits)
    for size in sizes[:-1]:
        # nothing but shapes is computed: what fits together in one size need not in another
        _heads(model.name, size, build(model, names, size, "meta"), logits)
    return SCRFD(graph, heads, sizes)


def _heads(file: str, size: int, graph: GraphModule, logits: set[str]) -> tuple["Head", ...]:
    """The heads of a graph that was checked with a picture of a size."""
    by_stride: dict[int, list[tuple[int, str]]] = {}
    for name, shape in zip(graph.outputs, graph.output_shapes, strict=True):
        strides = [stride for stride in STRIDES if shape[2:] == (-(-size // stride),) * 2]
        if not strides:
            raise UnknownGraph(f"{file} is a detector of a kind that is not known here; choose another detector.")
        by_stride.setdefault(strides[0], []).append((shape[1], name))
    return tuple(_head(file, stride, maps, logits) for stride, maps in sorted(by_stride.items()))


def _head(file: str, stride: int, maps: list[tuple[int, str]], logits) -> Head:
    maps = sorted(maps)
    anchors = maps[0][0]
    if [channels for channels, _ in maps] == [anchors, 4 * anchors]:
        raise WeightsError(
            f"{file} is a face detector without landmarks, which alignment needs; choose one whose name ends in "
            "_bnkps or _kps."
        )
    if [channels for channels, _ in maps] != [anchors, 4 * anchors, 10 * anchors]:
        raise UnknownGraph(f"{file} is a detector of a kind that is not known here; choose another detector.")
    scores, boxes, landmarks = (name for _, name in maps)
    return Head(stride, (scores, boxes, landmarks), anchors, maps[0][1] in logits)


def _source(model: OnnxModel, output: str) -> tuple[str, bool]:
    """The map [B, channels, h, w] that an output's rows come from, and whether a sigmoid lies between."""
    makers = {value: node for node in model.nodes for value in node.outputs}
    is_logit, passed = False, set()
    while (node := makers.get(output)) is not None and node.op in _AFTER_CONVOLUTIONS and node.inputs:
        if output in passed:
            raise WeightsError(f"{model.name} is damaged: its nodes go round in circles; fetch it again.")
        passed.add(output)
        is_logit = is_logit or node.op == "Sigmoid"
        output = node.inputs[0]
    return output, is_logit
