"""ArcFace as an IR-SE50 with squeeze and excitation: the network behind facexlib's `recognition_arcface_ir_se50.pth`.

Deng, Guo, Xue, Zafeiriou: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition" (2019), as trained by
InsightFace_Pytorch, whose `model_ir_se50.pth` is the same file. InfiniteYou and Lynx show it faces in BGR.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError, kind_of, unwrapped
from .adaface import stages_of
from .networks.iresnet import DEPTHS, IResNet
from .networks.iresnet_reading import Layout, read_iresnet

KIND = "arcface-ir-se50"
LAYOUT = Layout(
    kind="an ArcFace IR-SE50 state dict",
    stem=("input_layer.0", "input_layer.1", "input_layer.2"),
    unit=("res_layer.0", "res_layer.1", None, "res_layer.2", "res_layer.3", "res_layer.4"),
    shortcut=("shortcut_layer.0", "shortcut_layer.1"),
    head=("output_layer.0", "output_layer.3", "output_layer.4"),
    head_affine=True,
    project_first=False,
    blue_first=True,
    squeeze=("res_layer.5.fc1", "res_layer.5.fc2"),
)
_ANCHOR = "body.0.res_layer.5.fc1.weight"
_DEPTHS = (3, 4, 14, 3)


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are an IR network with squeeze and excitation, whole or not, of whatever depth."""
    return bool(unwrapped(tensors, _ANCHOR))


def load_ir_se50(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> IResNet:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    Chips [N, 3, 112, 112] RGB in 0..1, aligned to ARCFACE_TEMPLATE -> [N, 512], not normalised. `name` is the file's,
    for the message. Raises WeightsError with one sentence for tensors of another kind, of another depth, incomplete or
    of odd shapes.
    """
    published = unwrapped(tensors, _ANCHOR)
    if not published:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and {LAYOUT.kind} was expected; choose facexlib's "
            "recognition_arcface_ir_se50.pth."
        )
    stages = stages_of(published)
    depths = tuple(map(len, stages))
    if depths in DEPTHS and depths != _DEPTHS:
        raise WeightsError(
            f"{name} is an IR-SE{DEPTHS[depths]}, but only IR-SE50 is known; choose facexlib's "
            "recognition_arcface_ir_se50.pth."
        )
    return read_iresnet(published, stages, LAYOUT, name, device, dtype, operations)
