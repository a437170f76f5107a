"""Layers that several networks share."""

from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """nn.PReLU that follows its input, since ComfyUI's operations have no PReLU of their own to cast and move."""

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weight.to(x))
