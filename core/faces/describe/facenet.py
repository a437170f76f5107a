"""FaceNet as facenet-pytorch publishes it: an Inception-ResNet-v1, trained on VGGFace2 or CASIA-WebFace.

Schroff, Kalenichenko, Philbin: "FaceNet: A Unified Embedding for Face Recognition and Clustering" (2015). Reads the
state dicts of `20180402-114759-vggface2.pt` and `20180408-102900-casia-webface.pt`. The package feeds the network with
the boxes of its MTCNN, cut out and not aligned: see `boxes.crop_boxes`.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...layer_types import Device, Dtype, Operations
from ...weights import WeightsError, fill, fitting, kind_of, unwrapped
from .networks.folding import Folder, after
from .networks.inception_resnet import RUNS, InceptionResnetV1

_KIND = "a FaceNet state dict"
_ANCHOR = "conv2d_1a.conv.weight"
_EPSILON = 1e-3  # of the normalisations, from TensorFlow
_CLASSIFIER = "logits."  # of training
_SCALED = re.compile(rf"({'|'.join(RUNS)})(\.\d+)?\.conv2d\.weight")


def recognise(tensors: Mapping[str, Tensor]) -> bool:
    """Whether flat tensors are a state dict of facenet-pytorch's InceptionResnetV1, whole or not."""
    return bool(unwrapped(tensors, _ANCHOR))


def load_facenet(
    tensors: Mapping[str, Tensor], name: str = "The file", device: Device = None, dtype: Dtype = None,
    operations: Operations = nn,
) -> InceptionResnetV1:  # fmt: skip
    """The network that a file's flat tensors hold, in eval mode without gradients and in float32 if `dtype` is None.

    Chips [N, 3, 160, 160] RGB in 0..1 -> [N, 512], not normalised; the package makes their length 1 at the end. `name`
    is the file's, for the message. Raises WeightsError with one sentence for tensors of another kind, incomplete or of
    odd shapes.
    """
    published = unwrapped(tensors, _ANCHOR)
    if not published:
        raise WeightsError(
            f"{name} is {kind_of(tensors)}, and a FaceNet state dict was expected; choose "
            "20180402-114759-vggface2.pt or 20180408-102900-casia-webface.pt of facenet-pytorch."
        )
    with fitting(name):
        folder = Folder({k: tensor for k, tensor in published.items() if not k.startswith(_CLASSIFIER)}, _EPSILON)
        for key in list(folder.left):
            if key.endswith(".conv.weight"):
                layer = key.removesuffix(".conv.weight")
                folder.layer(f"{layer}.conv", f"{layer}.bn", f"{layer}.conv")
            elif found := _SCALED.fullmatch(key):
                layer, share = key.removesuffix(".weight"), RUNS[found[1]][1]
                folder.put(layer, folder.take(key) * share, folder.take(f"{layer}.bias") * share)
        weight = folder.take("last_linear.weight")
        folder.put("last_linear", *after(weight, torch.zeros(()), *folder.norm("last_bn")))
        network = InceptionResnetV1(device, dtype, operations)
        fill(network, folder.folded | folder.left, name, _KIND)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
