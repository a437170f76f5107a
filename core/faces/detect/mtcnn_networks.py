"""The three networks of MTCNN: proposal, refinement and output.

Zhang, Zhang, Li, Qiao: "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks" (2016).
Input pixels are RGB in -1..1: (value - 127.5) / 128 of 0..255.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, Operations
from ..layers import PReLU


class Layer(nn.Module):
    """A convolution or a dense layer, its PReLU and, for convolutions, a max pool that keeps incomplete windows."""

    def __init__(self, layer: nn.Module, channels: int, pool: int, device: Device, dtype: Dtype):
        super().__init__()
        self.layer = layer
        self.prelu = PReLU(channels, device=device, dtype=dtype)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.layer(x))
        return F.max_pool2d(x, self.pool, 2, ceil_mode=True) if self.pool else x


def _convolutions(plan, device, dtype, operations) -> nn.Sequential:
    """plan: (in channels, out channels, kernel, pool window or 0) per layer."""
    return nn.Sequential(
        *(
            Layer(operations.Conv2d(before, after, kernel, device=device, dtype=dtype), after, pool, device, dtype)
            for before, after, kernel, pool in plan
        )
    )


class PNet(nn.Module):
    """Face or not and box offsets for every 12 x 12 window at stride 2. [B, 3, H, W] -> [B, h, w], [B, 4, h, w]."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.convolutions = _convolutions([(3, 10, 3, 2), (10, 16, 3, 0), (16, 32, 3, 0)], device, dtype, operations)
        self.face = operations.Conv2d(32, 2, 1, device=device, dtype=dtype)
        self.box = operations.Conv2d(32, 4, 1, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convolutions(x.to(self.face.weight.dtype))
        return self.face(x).float().softmax(1)[:, 1], self.box(x).float()


class RNet(nn.Module):
    """Face or not and box offsets of 24 x 24 crops. [N, 3, 24, 24] -> [N], [N, 4]."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.convolutions = _convolutions([(3, 28, 3, 3), (28, 48, 3, 3), (48, 64, 2, 0)], device, dtype, operations)
        self.dense = Layer(operations.Linear(576, 128, device=device, dtype=dtype), 128, 0, device, dtype)
        self.face = operations.Linear(128, 2, device=device, dtype=dtype)
        self.box = operations.Linear(128, 4, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.dense(self.convolutions(x.to(self.face.weight.dtype)).flatten(1))
        return self.face(x).float().softmax(1)[:, 1], self.box(x).float()


class ONet(nn.Module):
    """Face or not, box offsets, landmarks in box units, of 48 x 48 crops. [N, 3, 48, 48] -> [N], [N, 4], [N, 5, 2]."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        plan = [(3, 32, 3, 3), (32, 64, 3, 3), (64, 64, 3, 2), (64, 128, 2, 0)]
        self.convolutions = _convolutions(plan, device, dtype, operations)
        self.dense = Layer(operations.Linear(1152, 256, device=device, dtype=dtype), 256, 0, device, dtype)
        self.face = operations.Linear(256, 2, device=device, dtype=dtype)
        self.box = operations.Linear(256, 4, device=device, dtype=dtype)
        self.points = operations.Linear(256, 10, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.dense(self.convolutions(x.to(self.face.weight.dtype)).flatten(1))
        # the network gives five x and then five y
        points = self.points(x).float().unflatten(1, (2, 5)).transpose(1, 2)
        return self.face(x).float().softmax(1)[:, 1], self.box(x).float(), points


def normalise(pixels: Tensor) -> Tensor:
    """Pixels 0..255 to the networks' input range, any shape."""
    return (pixels - 127.5) * 0.0078125
