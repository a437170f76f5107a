"""The face parser: which part of a portrait is hair, skin, glasses and so on.

Reads face-parsing.PyTorch's checkpoint `79999_iter.pth`, which other projects ship as `parsing_bisenet.pth` (facexlib)
or `face_parsing.pth` (ConsistentID), and the same network under the names of yakhyo's face-parsing (ResNet-18 or -34).
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError, fill, fitting, kind_of
from .parser_networks import RESNET18, RESNET34, BiSeNet

# CelebAMask-HQ's names in the order of the published weights, which is not the order of the data set. l_ and r_ are
# left and right; ear_r is an earring, neck_l a necklace, eye_g glasses, cloth what is worn.
CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
SIDE = 512  # pixels of the square that the network was trained on
GRID = (SIDE, SIDE)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB in 0..1

_HEAD = "conv_out.conv_out.weight"
_PUBLISHED = "face-parsing.PyTorch's 79999_iter.pth or a copy of it"
# From a training script's prefix and the names of yakhyo's face-parsing to the published names, in this order.
_OTHER_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^module\.", ""),
        (r"^fpn\.backbone\.", "cp.resnet."),
        (r"^fpn\.", "cp."),
        (r"^conv_out\.conv\.weight$", _HEAD),
        (r"^ffm\.conv_block\.", "ffm.convblk."),
        (r"\.conv_block\.", ".conv."),
        (r"\.norm\.", ".bn."),
        (r"\.attention\.0\.", ".conv_atten."),
        (r"\.attention\.1\.", ".bn_atten."),
    )
)
_UNUSED = ("conv_out16.", "conv_out32.", "cp.resnet.fc.")  # heads for training, and the backbone's old classifier


class FaceParser(nn.Module):
    """Classes of the pixels of portraits, by the numbers of CLASSES.

    A picture of any size and shape is squeezed into 512 x 512, as the network was trained; what comes out covers the
    whole picture, on any grid. It knows pictures in which one face fills a good part; small faces want cutting out.
    """

    def __init__(
        self, depths: tuple[int, ...] = RESNET18, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        self.network = BiSeNet(len(CLASSES), depths, device, dtype, operations)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """image: [B, H, W, 3] float RGB in 0..1. Returns logits [B, 19, 512, 512] float32."""
        pixels = _resized(image.movedim(-1, 1).float(), GRID)
        mean, deviation = (pixels.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return self.network((pixels - mean) / deviation)

    def labels(self, image: Tensor, size: tuple[int, int] = GRID) -> Tensor:
        """The likeliest class of every cell: image [B, H, W, 3] in 0..1 -> int64 [B, h, w] with (h, w) = `size`."""
        return self.probabilities(image, range(len(CLASSES)), size).argmax(1)

    def probabilities(self, image: Tensor, classes: Sequence[int], size: tuple[int, int] = GRID) -> Tensor:
        """How likely each cell is of each of some classes, at least one: image [B, H, W, 3] in 0..1 -> [B, K, h, w].

        float32 in 0..1 with (h, w) = `size`; the channels come in the order of `classes`. All 19 sum to 1, so the sum
        of a few is the probability of being one of them.
        """
        return _resized(self(image).softmax(1)[:, list(classes)], size)


def _resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, H, W] -> [B, C, h, w], bilinear; what shrinks is averaged, as Pillow does it for the published parser."""
    if tuple(pixels.shape[2:]) == tuple(size):
        return pixels
    return F.interpolate(pixels, size, mode="bilinear", antialias=True)


def load_parser(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> FaceParser:  # fmt: skip
    """The parser that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    `name` is the file's, for the message. Raises WeightsError with one sentence when the tensors are of another kind,
    incomplete, of odd shapes or of another number of classes.
    """
    published = {_published_name(key): tensor for key, tensor in tensors.items()}
    published = {key: tensor for key, tensor in published.items() if not key.startswith(_UNUSED)}
    if "cp.resnet.conv1.weight" not in published:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and a face parser must be a BiSeNet with {len(CLASSES)} classes; "
            f"choose {_PUBLISHED}."
        )
    depths = RESNET34 if "cp.resnet.layer1.2.conv1.weight" in published else RESNET18
    with fitting(name):
        classes = published[_HEAD].shape[0]
        if classes != len(CLASSES):
            raise WeightsError(
                f"{name} is a face parser with {classes} classes, but {len(CLASSES)} are needed; choose {_PUBLISHED}."
            )
        parser = FaceParser(depths, device, dtype, operations)
        fill(parser.network, published, name, "a face parser", f"choose {_PUBLISHED}")
    return parser.eval().requires_grad_(False)


def _published_name(key):
    for pattern, name in _OTHER_NAMES:
        key = pattern.sub(name, key)
    return key
