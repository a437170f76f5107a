"""e4e: the face as a code of StyleGAN's W+ space, 18 rows of 512 numbers (Tov et al. 2021, encoder4editing).

Reads `e4e_ffhq_encode.pt`: an IR-SE50 under `encoder.body`, of which three levels are kept, and 18 small networks under
`encoder.styles`. The first gives a row for all, each of the others what its own row adds; `latent_avg` is added to all.
The generator under `decoder.` is left out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...layer_types import Device, Dtype, LayerArgs, Operations
from ...weights import WeightsError, fill, fitting
from ..layers import PReLU
from .networks.folding import Folder
from .networks.iresnet import SEUnit

CHIP_SIZE, ROWS = 256, 18
# As in IR-50: residual units per stage, the first of which halves the size
_STAGES = (3, 4, 14, 3)
_FIRST = tuple(sum(_STAGES[:stage]) for stage in range(len(_STAGES)))
_LEVELS = (23, 20, 6)  # the units behind which the coarse, the middle and the fine level are kept
_COARSE, _MIDDLE = 3, 7  # the first row that the middle level makes, and the fine one
_CONVOLUTIONS = (4, 5, 6)  # that halve a level of 16, 32 or 64 pixels to one
_KIND, _TYPE = "an e4e encoder", "Encoder4Editing"
_PREFIX, _ANCHOR = "encoder.", "encoder.styles.0.linear.weight"
_EPSILON = 1e-5


class Style(nn.Module):
    """A level [N, C, s, s] halved to one pixel and made a row [N, width]."""

    def __init__(
        self, before: int, width: int, convolutions: int, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        self.convolutions = nn.ModuleList(
            operations.Conv2d(before if number == 0 else width, width, 3, 2, 1, **place)
            for number in range(convolutions)
        )
        self.linear = operations.Linear(width, width, **place)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.01)
        return self.linear(x.flatten(1))


class E4E(nn.Module):
    """Chips [N, 3, 256, 256] RGB in 0..1, aligned as FFHQ -> codes [N, 18 * width] float32, row after row.

    units: (channels in, channels out, whether the shortcut is a convolution, width of the squeezed channels) of each
    of 24. width: numbers of a row.
    """

    def __init__(
        self, units: Sequence[tuple[int, int, bool, int]], width: int, device: Device = None, dtype: Dtype = None,
        operations: Operations = nn,
    ):  # fmt: skip
        super().__init__()
        place: LayerArgs = {"device": device, "dtype": dtype}
        fine, middle, coarse = (units[number][1] for number in reversed(_LEVELS))
        self.conv = operations.Conv2d(3, units[0][0], 3, 1, 1, **place)
        self.prelu = PReLU(units[0][0], **place)
        self.units = nn.ModuleList(
            SEUnit(before, after, 2 if number in _FIRST else 1, project, squeezed, operations=operations, **place)
            for number, (before, after, project, squeezed) in enumerate(units)
        )
        self.middle = operations.Conv2d(middle, coarse, 1, **place)
        self.fine = operations.Conv2d(fine, coarse, 1, **place)
        self.styles = nn.ModuleList(
            Style(coarse, width, _CONVOLUTIONS[_level(row)], operations=operations, **place) for row in range(ROWS)
        )
        self.mean = nn.Parameter(torch.zeros(ROWS, width, **place))

    def forward(self, chips: Tensor) -> Tensor:
        x = (chips * 2 - 1).to(self.conv.weight.dtype, memory_format=torch.channels_last)
        x = self.prelu(self.conv(x))
        kept = []
        for number, unit in enumerate(self.units):
            x = unit(x)
            if number in _LEVELS:
                kept.append(x)
        fine, middle, coarse = kept
        middle = _enlarged(coarse, middle) + self.middle(middle)
        levels = coarse, middle, _enlarged(middle, fine) + self.fine(fine)
        first, *others = (style(levels[_level(row)]) for row, style in enumerate(self.styles))
        code = first[:, None] + torch.stack([torch.zeros_like(first), *others], 1)
        return (code.float() + self.mean.to(code.device, torch.float32)).flatten(1)


def _level(row):
    return (row >= _COARSE) + (row >= _MIDDLE)


def _enlarged(x, like):
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are a checkpoint of encoder4editing's, whole or not; pSp's have the same keys."""
    return _ANCHOR in tensors


def load_e4e(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], name: str = "The file", device: Device = None,
    dtype: Dtype = None, operations: Operations = nn,
) -> E4E:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    `metadata` are the file's options, `name` is its name, for the message. Raises WeightsError with one sentence for
    another network of the same layout (pSp), and for tensors that are incomplete or of odd shapes.
    """
    kind = metadata.get("encoder_type", _TYPE)
    if kind != _TYPE:
        raise WeightsError(
            f"{name} is {kind}, which has e4e's layout but is another network; choose e4e_ffhq_encode.pt."
        )
    with fitting(name):
        inside = {key.removeprefix(_PREFIX): tensor for key, tensor in tensors.items() if key.startswith(_PREFIX)}
        folder = Folder(inside, _EPSILON)
        units = [_unit(folder, number) for number in range(sum(_STAGES))]
        folder.layer("input_layer.0", "input_layer.1", "conv")
        _move(folder, "input_layer.2.weight", "prelu.weight")
        for ours, theirs in (("middle", "latlayer1"), ("fine", "latlayer2")):
            _move(folder, f"{theirs}.weight", f"{ours}.weight")
            _move(folder, f"{theirs}.bias", f"{ours}.bias")
        width = folder.left["styles.0.linear.weight"].shape[0]
        for row in range(ROWS):
            _style(folder, row)
        folder.folded["mean"] = tensors["latent_avg"].float().expand(ROWS, width)
        network = E4E(units, width, device, dtype, operations)
        fill(network, folder.folded | folder.left, name, _KIND, "choose e4e_ffhq_encode.pt")
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _move(folder, theirs, ours):
    """A tensor as it is, under another name."""
    folder.folded[ours] = folder.left.pop(theirs)


def _unit(folder, number):
    theirs, ours = f"body.{number}", f"units.{number}"
    convolution = folder.left[f"{theirs}.res_layer.1.weight"]
    folder.put(f"{ours}.norm", *folder.norm(f"{theirs}.res_layer.0"))
    folder.layer(f"{theirs}.res_layer.1", None, f"{ours}.conv1")
    _move(folder, f"{theirs}.res_layer.2.weight", f"{ours}.prelu.weight")
    folder.layer(f"{theirs}.res_layer.3", f"{theirs}.res_layer.4", f"{ours}.conv2")
    for part in ("fc1", "fc2"):
        _move(folder, f"{theirs}.res_layer.5.{part}.weight", f"{ours}.{part}.weight")
    project = f"{theirs}.shortcut_layer.0.weight" in folder.left
    if project:
        folder.layer(f"{theirs}.shortcut_layer.0", f"{theirs}.shortcut_layer.1", f"{ours}.shortcut")
    return convolution.shape[1], convolution.shape[0], project, folder.folded[f"{ours}.fc1.weight"].shape[0]


def _style(folder, row):
    name = f"styles.{row}"
    for number in range(_CONVOLUTIONS[_level(row)]):
        for part in ("weight", "bias"):
            # a LeakyReLU between each two
            _move(folder, f"{name}.convs.{2 * number}.{part}", f"{name}.convolutions.{number}.{part}")
    weight = folder.take(f"{name}.linear.weight")
    # StyleGAN keeps its weights at unit variance and scales them where they are used
    folder.put(f"{name}.linear", weight / weight.shape[1] ** 0.5, folder.take(f"{name}.linear.bias"))
