"""The 128-number face descriptor by dlib's author: a ResNet with 29 convolutions."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, Operations
from .networks.quantised import read_quantised

# mean colour of the training pictures, RGB in 0..255
MEAN = (122.782, 117.001, 104.298)

# name, channels in, channels out, whether it halves the size
BLOCKS = (
    ("conv32_1", 32, 32, False), ("conv32_2", 32, 32, False), ("conv32_3", 32, 32, False),
    ("conv64_down", 32, 64, True), ("conv64_1", 64, 64, False), ("conv64_2", 64, 64, False),
    ("conv64_3", 64, 64, False),
    ("conv128_down", 64, 128, True), ("conv128_1", 128, 128, False), ("conv128_2", 128, 128, False),
    ("conv256_down", 128, 256, True), ("conv256_1", 256, 256, False), ("conv256_2", 256, 256, False),
    ("conv256_down_out", 256, 256, True),
)  # fmt: skip


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; a halving block averages 2 x 2 on the shortcut and fills with zeros.

    [N, C, h, w] -> [N, C', h', w']. The first convolution of a halving block has no padding, so its output can be one
    shorter than the shortcut and gets a zero row and column; missing channels of the shortcut are zeros as well.
    """

    def __init__(
        self, before: int, after: int, halve: bool, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        stride, padding = (2, 0) if halve else (1, 1)
        self.conv1 = operations.Conv2d(before, after, 3, stride, padding, device=device, dtype=dtype)
        self.conv2 = operations.Conv2d(after, after, 3, 1, 1, device=device, dtype=dtype)
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        if self.halve:
            x = F.avg_pool2d(x, 2)
            out = F.pad(out, (0, x.shape[3] - out.shape[3], 0, x.shape[2] - out.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
        return F.relu(out + x)


class DlibResNet(nn.Module):
    """Face descriptor `dlib_face_recognition_resnet_model_v1` by Davis King, as face-api's FaceRecognitionNet runs it.

    The per-channel scale and shift that follow each convolution are folded into it (`read_dlib_resnet`).
    """

    def __init__(self, device: Device = None, dtype: Dtype = None, operations: Operations = nn):
        super().__init__()
        self.conv32_down = operations.Conv2d(3, 32, 7, 2, device=device, dtype=dtype)
        for name, before, after, halve in BLOCKS:
            setattr(self, name, Residual(before, after, halve, device, dtype, operations))
        self.fc = operations.Linear(256, 128, bias=False, device=device, dtype=dtype)

    def forward(self, chips: Tensor) -> Tensor:
        """chips: [N, 3, 150, 150] RGB in 0..1. Returns [N, 128], not normalised, in the dtype of the weights."""
        mean = chips.new_tensor(MEAN)[:, None, None] / 255
        x = (chips - mean).to(self.fc.weight.dtype)
        x = F.max_pool2d(F.relu(self.conv32_down(x)), 3, 2)
        for name, *_ in BLOCKS:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))


def read_dlib_resnet(path: Path) -> dict[str, Tensor]:
    """State dict of DlibResNet, float32, from embedded/dlib_resnet34.safetensors.

    (conv(x) + bias) * scale.weights + scale.biases becomes one convolution, multiplied out in float64.
    """
    value = read_quantised(path)
    state = {"fc.weight": value["fc"]}
    layers = [name.removesuffix(".conv.filters") for name in value if name.endswith(".conv.filters")]
    for layer in layers:
        factor = value[f"{layer}.scale.weights"]
        state[f"{layer}.weight"] = value[f"{layer}.conv.filters"] * factor[:, None, None, None]
        state[f"{layer}.bias"] = value[f"{layer}.conv.bias"] * factor + value[f"{layer}.scale.biases"]
    return {name: tensor.to(torch.float32) for name, tensor in state.items()}
