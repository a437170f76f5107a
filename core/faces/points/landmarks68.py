"""The 68 landmarks of a face in the order of the iBUG 300-W annotation, by face-api's network."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, LayerArgs, Operations
from ...places import EMBEDDED
from ..describe.dlib import MEAN
from ..describe.networks.quantised import read_quantised

FILE = EMBEDDED / "landmarks68.safetensors"
POINTS, CHIP_SIZE = 68, 112
CHANNELS = (32, 64, 128, 256)
# Where the five landmarks (found.Landmark) should lie in a chip. Chips cut along found landmarks agree better with
# themselves mirrored (0.038 of the distance from eye to mouth corner) than any square around the box (0.046 at best),
# and work for turned faces. The points are those of dlib's template (templates.py) at this size, 8 pixels higher.
TEMPLATE = ((35.503, 26.794), (75.022, 26.794), (55.263, 49.166), (37.643, 68.924), (72.882, 68.924))
# which point of a mirrored face each point is
MIRRORED = (*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
            45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1),
            *range(64, 59, -1), 67, 66, 65)  # fmt: skip
# the five landmarks as means of these
FIVE = (range(36, 42), range(42, 48), (30,), (48,), (54,))


class Separable(nn.Module):
    """A depthwise 3 x 3 convolution and a pointwise one with nothing in between, [N, C, h, w] -> [N, C', h', w']."""

    def __init__(
        self, before: int, after: int, stride: int, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.depthwise = operations.Conv2d(before, before, 3, stride, groups=before, bias=False, **place)
        self.pointwise = operations.Conv2d(before, after, 1, **place)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(_same(x, self.depthwise.stride[0])))


class Dense(nn.Module):
    """Four convolutions, the first halving the size, each of the others fed with the sum of all before it."""

    def __init__(
        self, before: int, after: int, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        if before == 3:
            self.conv0 = operations.Conv2d(3, after, 3, 2, device=device, dtype=dtype)
        else:
            self.conv0 = Separable(before, after, 2, device, dtype, operations)
        self.conv1, self.conv2, self.conv3 = (Separable(after, after, 1, device, dtype, operations) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        # a Separable pads for itself
        total = F.relu(self.conv0(x) if isinstance(self.conv0, Separable) else self.conv0(_same(x, 2)))
        into = total
        for convolution in (self.conv1, self.conv2, self.conv3):
            total = total + convolution(into)
            into = F.relu(total)
        return into


def _same(x: Tensor, stride: int) -> Tensor:
    """Zeros around x as TensorFlow's "same" has them for a 3 x 3 window: an even size at stride 2 gets them at the end
    only."""
    return F.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


class Landmarks68(nn.Module):
    """`face_landmark_68_model` of @vladmandic/face-api: where 68 landmarks lie in a square that shows one face."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        for number, (before, after) in enumerate(zip((3, *CHANNELS), CHANNELS, strict=False)):
            setattr(self, f"dense{number}", Dense(before, after, device, dtype, operations))
        self.fc = operations.Linear(CHANNELS[-1], 2 * POINTS, device=device, dtype=dtype)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: [N, 3, 112, 112] RGB in 0..1. Returns [N, 68, 2] float32, (x, y) in chip sides from the corner."""
        x = (chips - chips.new_tensor(MEAN)[:, None, None] / 255).to(self.fc.weight.dtype)
        for number in range(len(CHANNELS)):
            x = getattr(self, f"dense{number}")(x)
        return self.fc(F.avg_pool2d(x, 7).flatten(1)).float().unflatten(1, (POINTS, 2))


def five_of(points: Tensor) -> Tensor:
    """The five landmarks, see found.Landmark, from 68: [N, 68, 2] -> [N, 5, 2] in the same units."""
    return torch.stack([points[:, list(places)].mean(1) for places in FIVE], 1)


def read_landmarks68(path: Path = FILE) -> dict[str, Tensor]:
    """State dict of Landmarks68, float32, from embedded/landmarks68.safetensors."""
    names = {"depthwise_filter": "depthwise.weight", "pointwise_filter": "pointwise.weight", "filters": "weight",
             "weights": "weight"}  # fmt: skip
    stored = read_quantised(path)
    separable = {name.removesuffix(".depthwise_filter") for name in stored if name.endswith(".depthwise_filter")}
    state = {}
    for name, value in stored.items():
        layer, kind = name.rsplit(".", 1)
        kind = "pointwise.bias" if kind == "bias" and layer in separable else names.get(kind, kind)
        state[f"{layer}.{kind}"] = value.float()
    return state


def load_landmarks68(device: Device = None, dtype: Dtype = None, operations: Operations = nn) -> Landmarks68:
    """The network that ships with the pack, in eval mode without gradients."""
    module = Landmarks68(device, dtype, operations)
    module.load_state_dict(read_landmarks68(FILE))
    return module.eval().requires_grad_(False)
