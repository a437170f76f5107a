"""Face descriptors that are ONNX graphs: ArcFace in its many sizes, SFace, and what artists bring along."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...graph import GraphModule, UnknownGraph, build
from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError
from ...weights.onnx_file import OnnxModel
from ..align.alignment import FivePoints, arcface
from .onnx_roles import normalises

_ARCFACE_MEAN, _ARCFACE_DEVIATION = 127.5, 127.5
_STANDARD_SIDE = 112  # pixels, of a graph that doesn't say
_LONGEST = 2**14  # numbers of a descriptor, of which published ones have 128 to 2048
_AT_ONCE = 32  # chips in one forward: more is no faster and takes memory for each


@dataclass(frozen=True)
class Preprocessing:
    """How pixels in 0..255 become input: (pixels - mean) / deviation, one number or one per channel; BGR or RGB."""

    mean: tuple[float, ...] = (_ARCFACE_MEAN,)
    deviation: tuple[float, ...] = (_ARCFACE_DEVIATION,)
    is_bgr: bool = False


class OnnxEmbedder(nn.Module):
    """A descriptor from a graph with one output [N, dim]."""

    def __init__(self, graph: GraphModule, preprocessing: Preprocessing, dim: int, size: tuple[int, int]):
        super().__init__()
        self.graph = graph
        self.preprocessing = preprocessing
        self.dim = dim
        self.size = size

    @torch.no_grad()
    def forward(self, chips: Tensor) -> Tensor:
        """chips: [N, 3, height, width] float RGB in 0..1 -> [N, dim] in float32, as the graph gives them."""
        return torch.cat([self._describe(part) for part in chips.split(_AT_ONCE)]) if len(chips) else self._none(chips)

    def _describe(self, chips):
        pixels = chips.float() * 255
        if self.preprocessing.is_bgr:
            pixels = pixels.flip(1)
        mean, deviation = (
            pixels.new_tensor(values)[:, None, None]
            for values in (self.preprocessing.mean, self.preprocessing.deviation)
        )
        return self.graph(((pixels - mean) / deviation).to(self.graph.dtype)).float().flatten(1)

    def _none(self, chips):
        return chips.new_zeros(0, self.dim, dtype=torch.float32)


def arcface_alignment(name: str, size: tuple[int, int], advice: str) -> FivePoints:
    """ArcFace's alignment for what a file takes, (height, width); WeightsError with some advice where it has none."""
    height, width = size
    if height != width or (height % 112 and height % 128):
        raise WeightsError(
            f"{name} takes pictures of {width} x {height} pixels, which ArcFace's template does not fit; {advice}."
        )
    return arcface(height)


def load_embedder(
    model: OnnxModel, preprocessing: Preprocessing | None = None, size: tuple[int, int] | None = None,
    device: Device = None, dtype: Dtype = None, operations: Operations = nn,
) -> OnnxEmbedder:  # fmt: skip
    """The descriptor of an `.onnx` file.

    `preprocessing` is ArcFace's by default, or none where the graph does it itself; `size` (height, width) is for
    graphs that leave theirs free. Raises UnknownGraph for a graph that does not make a vector, WeightsError for a
    damaged one.
    """
    if len(model.inputs) != 1:
        raise UnknownGraph(
            f"{model.name} takes {len(model.inputs)} inputs, so it is no face descriptor (a face swapper takes two); "
            "choose another file."
        )
    if preprocessing is None:
        preprocessing = Preprocessing((0.0,), (1.0,)) if normalises(model) else Preprocessing()
    shape = next(iter(model.inputs.values()), ())
    height, width = shape[2:] if len(shape) == 4 else (None, None)
    size = (height or (size or (_STANDARD_SIDE,))[0], width or (size or (_STANDARD_SIDE,))[-1])
    graph = build(model, None, size, device, dtype, operations)
    if graph.checked_shape[1] != 3:
        raise UnknownGraph(f"{model.name} takes {graph.checked_shape[1]:,} colours and not three; choose another file.")
    shapes = graph.output_shapes
    if len(shapes) != 1 or len(shapes[0]) < 2 or shapes[0][0] != 1 or any(side != 1 for side in shapes[0][2:]):
        found = " and ".join(str(list(shape)) for shape in shapes[:3])
        raise UnknownGraph(
            f"{model.name} gives {found}, not one vector per picture; it is no face descriptor, so choose another file."
        )
    dim = shapes[0][1]
    if not 2 <= dim <= _LONGEST:
        raise UnknownGraph(f"{model.name} gives {dim:,} numbers, which is no face descriptor; choose another file.")
    return OnnxEmbedder(graph, preprocessing, dim, size)
