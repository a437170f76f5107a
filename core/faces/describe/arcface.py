"""ArcFace as a PyTorch state dict: the IResNets of InsightFace's arcface_torch, `backbone.pth`.

Deng, Guo, Xue, Zafeiriou: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (2019).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError, kind_of, unwrapped
from .networks.iresnet import WIDTHS, IResNet
from .networks.iresnet_reading import Layout, read_iresnet

LAYOUT = Layout(
    kind="an ArcFace IResNet state dict",
    stem=("conv1", "bn1", "prelu"),
    unit=("bn1", "conv1", "bn2", "prelu", "conv2", "bn3"),
    shortcut=("downsample.0", "downsample.1"),
    head=("bn2", "fc", "features"),
    head_affine=True,
    project_first=True,
    blue_first=False,
)
_ANCHOR = "layer1.0.prelu.weight"


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are a backbone of arcface_torch's, whole or not."""
    return bool(unwrapped(tensors, _ANCHOR))


def load_arcface(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> IResNet:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    Chips [N, 3, 112, 112] RGB in 0..1, aligned to ARCFACE_TEMPLATE -> [N, 512], not normalised. `name` is the file's,
    for the message. Raises WeightsError with one sentence for tensors of another kind, incomplete, of odd shapes or of
    a depth that was never published.
    """
    published = unwrapped(tensors, _ANCHOR)
    if not published:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and an ArcFace IResNet state dict was expected; choose a backbone.pth of "
            "arcface_torch."
        )
    return read_iresnet(published, _stages(published), LAYOUT, name, device, dtype, operations)


def _stages(published):
    """Names of the residual units of layer1 to layer4."""
    stages = []
    for stage in range(1, len(WIDTHS) + 1):
        units = []
        while f"layer{stage}.{len(units)}.prelu.weight" in published:
            units.append(f"layer{stage}.{len(units)}")
        stages.append(units)
    return stages
