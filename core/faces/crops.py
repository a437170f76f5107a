"""How adapters want the picture of a face cut out; every crop is RGB in 0..1, [N,3,size,size]."""

from collections.abc import Callable

from torch import Tensor

from .encoder import FaceEncoder, Faces
from .ffhq import ffhq_crop
from .geometry import similarity_transform, warp
from .templates import arcface_template

Crop = Callable[[FaceEncoder, Tensor, Faces, int], Tensor]


def arcface_crop(encoder: FaceEncoder, image: Tensor, faces: Faces, size: int) -> Tensor:
    """InsightFace's `norm_crop`: the five landmarks at ArcFace's template, with the pixels of cv2.warpAffine."""
    template = faces.landmarks.new_tensor(arcface_template(size))
    return warp(image, faces.image_index, similarity_transform(faces.landmarks, template), size, antialias=False)


# Name in a Look -> what cuts it out of images [B,H,W,3].
CROPS: dict[str, Crop] = {"face": arcface_crop, "ffhq": ffhq_crop}
