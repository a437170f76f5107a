"""The detector and the encoder that ship with the pack."""

from torch import nn

from ..layer_types import Device, Dtype, Operations
from ..places import EMBEDDED
from ..weights.reader import read_weights
from .align.alignment import FivePoints
from .align.templates import DLIB_SIDE, DLIB_TEMPLATE
from .describe.dlib import DlibResNet, read_dlib_resnet
from .detect.mtcnn import MTCNN
from .detect.verify import Verified
from .encoder import FaceEncoder
from .points.landmarks68 import Landmarks68, load_landmarks68

# What MTCNN may propose where a second opinion follows. As published (0.6, 0.7, 0.7) it misses faces in deep shadow and
# in profile that the verifier knows, and what else it proposes below that the verifier drops.
DOUBTFUL = (0.5, 0.5, 0.5)


def load_detector(
    points68: Landmarks68, device: Device = None, dtype: Dtype = None, operations: Operations = nn
) -> Verified:
    """The detector that ships with the pack: MTCNN, with the 68-point network for a second opinion."""
    detector = MTCNN(device, dtype, operations, thresholds=DOUBTFUL)
    detector.load_state_dict(read_weights(EMBEDDED / "mtcnn.safetensors").tensors)
    return Verified(detector, points68).eval().requires_grad_(False)


def load_embedded(device: Device = None, dtype: Dtype = None, operations: Operations = nn) -> FaceEncoder:
    """The encoder that ships with the pack: verified MTCNN and dlib's 128-number descriptor, in eval mode."""
    points68 = load_landmarks68(device, dtype, operations)
    embedder = DlibResNet(device, dtype, operations)
    embedder.load_state_dict(read_dlib_resnet(EMBEDDED / "dlib_resnet34.safetensors"))
    detector = load_detector(points68, device, dtype, operations)
    alignment = FivePoints(DLIB_TEMPLATE, DLIB_SIDE, antialias=True)
    encoder = FaceEncoder(detector, embedder, "dlib-resnet34-128", 128, alignment, points68)
    return encoder.eval().requires_grad_(False)
