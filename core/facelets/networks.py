"""The three small networks for drawn portraits: landmarks on a coarse grid, their refinement, and the descriptor."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layer_types import Device, Dtype, LayerArgs, Operations

STRIDE = 16  # pixels between the cells of the grid
REACH = 32.0  # pixels per unit of what the grid says about a landmark
CHIP_REACH = 8.0  # and of what the refiner says
POINTS = 5


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) with 3 x 3 kernels (He et al. 2016, "identity mappings").

    The grid has no norms: means over the whole picture would let one face change the landmarks of another.
    """

    def __init__(
        self, channels: int, norm: bool, device: Device = None, dtype: Dtype = None, operations: Operations = nn
    ):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.norm1 = operations.GroupNorm(8, channels, **place) if norm else nn.Identity()
        self.conv1 = operations.Conv2d(channels, channels, 3, 1, 1, **place)
        self.norm2 = operations.GroupNorm(8, channels, **place) if norm else nn.Identity()
        self.conv2 = operations.Conv2d(channels, channels, 3, 1, 1, **place)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class LandmarkGrid(nn.Module):
    """A face score and five landmarks for every cell of 16 x 16 pixels: an anchor-free detector with one map."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.patches = operations.Conv2d(3, 24, 8, 4, 2, **place)
        self.down1 = operations.Conv2d(24, 48, 3, 2, 1, **place)
        self.fine = Residual(48, False, device, dtype, operations)
        self.down2 = operations.Conv2d(48, 72, 3, 2, 1, **place)
        self.coarse = nn.Sequential(*(Residual(72, False, device, dtype, operations) for _ in range(2)))
        self.head = operations.Conv2d(72, 1 + 2 * POINTS, 1, **place)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels: [B, 3, h, w] RGB in 0..1, h and w multiples of 16. Returns the scores' logits [B, h / 16, w / 16] and
        landmarks [B, h / 16, w / 16, 5, 2] in those pixels, both float32."""
        x = ((pixels - 0.5) * 4).to(self.head.weight.dtype)
        x = self.down1(F.relu(self.patches(x)))
        x = self.down2(F.relu(self.fine(x)))
        out = self.head(F.relu(self.coarse(x))).float()
        offsets = out[:, 1:].unflatten(1, (POINTS, 2)).permute(0, 3, 4, 1, 2) * REACH
        return out[:, 0], offsets + cell_centres(out.shape[2], out.shape[3], out.device)[..., None, :]


def cell_centres(rows: int, columns: int, device: Device = None) -> Tensor:
    """Middles of the grid's cells [rows, columns, 2] as (x, y) in pixels, pixel centres at whole numbers."""
    y, x = (torch.arange(count, device=device, dtype=torch.float32) for count in (rows, columns))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) * STRIDE + (STRIDE - 1) / 2


class LandmarkRefiner(nn.Module):
    """Where the landmarks are in a chip that was aligned by rough ones, as the last network of a cascade (Zhang et al.
    2016): the grid's cells see too little detail to tell a long nose from a short one."""

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.down1 = operations.Conv2d(3, 16, 4, 2, 1, **place)
        self.down2 = operations.Conv2d(16, 32, 3, 2, 1, **place)
        self.fine = Residual(32, True, device, dtype, operations)
        self.down3 = operations.Conv2d(32, 32, 3, 2, 1, **place)
        self.out = operations.Linear(32 * 8 * 8, 2 * POINTS, **place)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: [N, 3, 64, 64] RGB in 0..1. Returns offsets [N, 5, 2] from the template in chip pixels, float32."""
        x = ((chips - 0.5) * 4).to(self.out.weight.dtype)
        x = self.down2(F.relu(self.down1(x)))
        x = F.relu(self.down3(F.relu(self.fine(x))))
        return self.out(x.flatten(1)).float().unflatten(1, (POINTS, 2)) * CHIP_REACH


class DrawnEmbedder(nn.Module):
    """Describes who a drawn portrait shows, whatever hair, hat, glasses, beard, expression and style it has.

    On the unit sphere as in FaceNet (Schroff et al. 2015), trained with ArcFace's additive angular margin (Deng et al.
    2019) against the other people of a batch instead of a table of classes.
    """

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}

        def residual(channels):
            return Residual(channels, True, device, dtype, operations)

        self.down1 = operations.Conv2d(3, 24, 4, 2, 1, **place)
        self.down2 = operations.Conv2d(24, 48, 3, 2, 1, **place)
        self.fine = residual(48)
        self.down3 = operations.Conv2d(48, 64, 3, 2, 1, **place)
        self.coarse = nn.Sequential(residual(64), residual(64))
        self.down4 = operations.Conv2d(64, 64, 3, 2, 1, **place)
        self.norm = operations.GroupNorm(8, 64, **place)
        self.out = operations.Linear(64 * 4 * 4, 128, **place)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: [N, 3, 64, 64] RGB in 0..1, aligned to the drawn template. Returns [N, 128] of length 1, float32."""
        return F.normalize(self.features(chips), dim=1)

    def features(self, chips: Tensor) -> Tensor:
        """The same [N, 128] before its length is made 1."""
        x = ((chips - 0.5) * 4).to(self.out.weight.dtype)
        x = self.down2(F.relu(self.down1(x)))
        x = self.down3(F.relu(self.fine(x)))
        x = self.down4(F.relu(self.coarse(x)))
        return self.out(F.relu(self.norm(x)).flatten(1)).float()
