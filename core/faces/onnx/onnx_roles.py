"""What a graph of an InsightFace pack is for, from its inputs and outputs: never from a file's or a tensor's name."""

from ...weights.onnx_file import OnnxModel

DETECTOR, EMBEDDER, LANDMARKS, ATTRIBUTES, OTHER = "detector", "embedder", "landmarks", "attributes", "other"


def role_of(model: OnnxModel) -> str:
    """One of the roles above.

    A detector has a score, a box and perhaps landmarks for each of 3 or 5 strides; landmarks are read from 192 x 192
    pixels, gender and age from 96 x 96; what makes a vector of a larger picture is an embedder. Anything else, a face
    swapper with its two inputs for one, is none of them.
    """
    if len(model.inputs) != 1:
        return OTHER
    (shape,) = model.inputs.values()
    if len(model.outputs) in (6, 9, 10, 15):
        return DETECTOR
    if len(model.outputs) != 1 or len(shape) != 4 or shape[1] not in (None, 3):
        return OTHER
    height, width = shape[2:]
    if (height, width) == (192, 192):
        return LANDMARKS
    if (height, width) == (96, 96):
        return ATTRIBUTES
    square = height == width and (height is None or (height >= 112 and height % 16 == 0))
    return EMBEDDER if square else OTHER


def normalises(model: OnnxModel) -> bool:
    """Whether a graph subtracts and scales its pixels itself, as exports from MXNet do, before its first convolution.

    Those take pixels in 0..255 as they are.
    """
    (value,) = model.inputs
    for node in model.nodes[:8]:
        if value not in node.inputs:
            continue
        if node.op in ("Sub", "Add", "Mul", "Div", "BatchNormalization"):
            return True
        if node.op not in ("Identity", "Transpose", "Cast") or not node.outputs:
            return False
        value = node.outputs[0]
    return False
