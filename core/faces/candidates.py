"""What every face detector returns: a fixed number of places per image, some of them filled."""

from typing import NamedTuple

from torch import Tensor


class Candidates(NamedTuple):
    """Fixed-shape detections of a batch of images, so that nothing has to be read back to know their sizes.

    boxes: [B, K, 4] float32, xyxy in pixels, possibly reaching beyond the image.
    landmarks: [B, K, 5, 2] float32, (x, y) in pixels: image-left eye, image-right eye, nose, left and right mouth
    corner.
    scores: [B, K] float32 in 0..1; valid: [B, K] bool, which of the K places hold a face.
    """

    boxes: Tensor
    landmarks: Tensor
    scores: Tensor
    valid: Tensor
