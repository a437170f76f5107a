"""What InsightFace's packs know about a face besides who it is: more landmarks, the head's pose, gender and age."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...graph import UnknownGraph, build
from ...layer_types import Device, Dtype, Operations
from ...weights.onnx_file import OnnxModel
from ..align.transforms import invert, transform_points, upright, warp
from ..found import Faces
from ..points.head_pose import fit_to, head_pose, load_mean_shape
from .onnx_roles import normalises

_SURROUNDINGS = 1.5  # sides of the box that a crop takes in
_MEAN, _DEVIATION = 127.5, 128.0  # of graphs that don't normalise by themselves
LANDMARKS_2D, LANDMARKS_3D, GENDER_AGE = "landmarks of 106 points", "68 landmarks in space", "gender and age"
# numbers that a graph gives per face -> what they are
_KINDS = {212: LANDMARKS_2D, 3309: LANDMARKS_3D, 3: GENDER_AGE}


@dataclass(frozen=True)
class Details:
    """What is known about N faces; None where the pack has no file for it.

    landmarks106: [N, 106, 2] in pixels. landmarks68: [N, 68, 3], x and y in pixels, depth in the same unit. pose:
    [N, 3] pitch, yaw, roll in degrees. male: [N] bool. age: [N] years.
    """

    landmarks106: Tensor | None = None
    landmarks68: Tensor | None = None
    pose: Tensor | None = None
    male: Tensor | None = None
    age: Tensor | None = None


class FaceDetails(nn.Module):
    """The graphs for `Details`, each looking at the face's box and half as much around it, upright."""

    fit: Tensor

    def __init__(self, graphs: Mapping[str, nn.Module], normalising: frozenset[str]):
        super().__init__()
        self.graphs: Any = nn.ModuleDict(graphs)  # of GraphModules, which its own type can't say
        self.normalising = normalising
        self.register_buffer("fit", fit_to(load_mean_shape()), persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor, faces: Faces) -> Details:
        """Details of the faces in image [B, H, W, 3] (RGB in 0..1)."""
        found = {}
        if LANDMARKS_2D in self.graphs:
            found["landmarks106"], _ = self._landmarks(LANDMARKS_2D, image, faces, 2)
        if LANDMARKS_3D in self.graphs:
            points, matrices = self._landmarks(LANDMARKS_3D, image, faces, 3)
            found["landmarks68"] = points = points[:, -68:]
            found["pose"] = head_pose(points, self.fit)
        if GENDER_AGE in self.graphs:
            numbers, _ = self._look(GENDER_AGE, image, faces)
            found["male"], found["age"] = numbers[:, 1] > numbers[:, 0], numbers[:, 2] * 100
        return Details(**found)

    def _look(self, kind: str, image: Tensor, faces: Faces) -> tuple[Tensor, Tensor]:
        """A graph's numbers [N, D] and the transforms from image to crop [N, 2, 3]."""
        graph = self.graphs[kind]
        size = graph.checked_shape[-1]
        matrices = crops_around(faces.boxes, size)
        pixels = warp(image, faces.image_index, matrices, size, antialias=False) * 255
        if kind not in self.normalising:
            pixels = (pixels - _MEAN) / _DEVIATION
        if not len(pixels):
            return pixels.new_zeros(0, graph.output_shapes[0][1]), matrices
        return graph(pixels.to(graph.dtype)).float(), matrices

    def _landmarks(self, kind: str, image: Tensor, faces: Faces, columns: int) -> tuple[Tensor, Tensor]:
        numbers, matrices = self._look(kind, image, faces)
        half = self.graphs[kind].checked_shape[-1] // 2
        points = numbers.unflatten(1, (-1, columns))
        back = invert(matrices)
        flat = transform_points(back, (points[..., :2] + 1) * half)
        if columns == 2:
            return flat, matrices
        depth = points[..., 2:] * half * back[:, :1, :2].norm(dim=2, keepdim=True)
        return torch.cat([flat, depth], 2), matrices


def crops_around(boxes: Tensor, size: int) -> Tensor:
    """Transforms [N, 2, 3] from image to upright crops of `size` pixels around boxes [N, 4]."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    scale = size / ((boxes[:, 2:] - boxes[:, :2]).amax(1) * _SURROUNDINGS)
    return upright(centre, scale, size / 2)


def load_details(
    models: list[OnnxModel], device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> FaceDetails:
    """The module for the landmark and attribute graphs of a pack, the first of each kind.

    Raises UnknownGraph with one sentence for a graph of another kind, WeightsError for a damaged one.
    """
    graphs, normalising = {}, set()
    for model in models:
        graph = build(model, device=device, dtype=dtype, operations=operations)
        (shape,) = graph.output_shapes if len(graph.output_shapes) == 1 else ((),)
        kind = _KINDS.get(shape[1] if len(shape) == 2 else 0)
        if kind is None:
            raise UnknownGraph(f"{model.name} gives {list(shape)}: neither landmarks nor gender and age are so many.")
        if kind not in graphs:
            graphs[kind] = graph
            if normalises(model):
                normalising.add(kind)
    return FaceDetails(graphs, frozenset(normalising)).eval().requires_grad_(False)
