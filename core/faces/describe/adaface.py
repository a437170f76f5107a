"""AdaFace: descriptors trained with a margin that adapts to the quality of the picture.

Kim, Jain, Liu: "AdaFace: Quality Adaptive Margin for Face Recognition" (2022). Reads the checkpoints of its authors,
`adaface_ir18_*.ckpt` to `adaface_ir101_*.ckpt`: Lightning's, whose network lies under `model.` beside the head that
only training needs, or the network's state dict alone.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError, kind_of, unwrapped
from .networks.iresnet import WIDTHS, IResNet
from .networks.iresnet_reading import Layout, read_iresnet

LAYOUT = Layout(
    kind="an AdaFace state dict",
    stem=("input_layer.0", "input_layer.1", "input_layer.2"),
    unit=("res_layer.0", "res_layer.1", "res_layer.2", "res_layer.3", "res_layer.4", "res_layer.5"),
    shortcut=("shortcut_layer.0", "shortcut_layer.1"),
    head=("output_layer.0", "output_layer.3", "output_layer.4"),
    head_affine=False,
    project_first=False,
    blue_first=True,
)
# Other projects have this layout without a normalisation between the convolutions, whose PReLU is number 2.
_ANCHOR = "body.0.res_layer.5.running_var"
_HEAD = "head."  # of training


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are a checkpoint of AdaFace's, whole or not."""
    return bool(unwrapped(tensors, _ANCHOR))


def load_adaface(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> IResNet:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    Chips [N, 3, 112, 112] RGB in 0..1, aligned to ARCFACE_TEMPLATE -> [N, 512], not normalised: AdaFace's own feature
    times its norm. `name` is the file's, for the message. Raises WeightsError with one sentence for tensors of another
    kind, incomplete, of odd shapes or of a depth that was never published.
    """
    published = unwrapped(tensors, _ANCHOR)
    if not published:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and an AdaFace state dict was expected; choose an adaface_ir*.ckpt file."
        )
    published = {key: tensor for key, tensor in published.items() if not key.startswith(_HEAD)}
    return read_iresnet(published, stages_of(published), LAYOUT, name, device, dtype, operations)


def stages_of(published: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of the residual units by what their width says of the stage."""
    stages: list[list[str]] = [[] for _ in WIDTHS]
    number = 0
    while f"body.{number}.res_layer.4.weight" in published:
        width = published[f"body.{number}.res_layer.4.weight"].shape[:1]
        for stage, known in zip(stages, WIDTHS, strict=True):
            if width == (known,):
                stage.append(f"body.{number}")
        number += 1
    return stages
