"""How adapters want the picture of a face cut out; every crop is RGB in 0..1, [N,3,size,size]."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .align.ffhq import ffhq_crop
from .align.templates import HEAD_SIDE, HEAD_TEMPLATE, arcface_template
from .align.transforms import similarity_transform, warp
from .encoder import FaceEncoder
from .found import Faces

_BORDER = (132 / 255, 133 / 255, 135 / 255)  # facexlib's grey outside a photograph, RGB
_LONGEST = 1024  # pixels of a photograph's longer side, beyond which PuLID's demonstrations shrink it first

Crop = Callable[[FaceEncoder, Tensor, Faces, int], Tensor]


def arcface_crop(encoder: FaceEncoder, image: Tensor, faces: Faces, size: int) -> Tensor:
    """InsightFace's `norm_crop`: the five landmarks at ArcFace's template, with the pixels of cv2.warpAffine."""
    template = faces.landmarks.new_tensor(arcface_template(size))
    return warp(image, faces.image_index, similarity_transform(faces.landmarks, template), size, antialias=False)


def head_crop(encoder: FaceEncoder, image: Tensor, faces: Faces, size: int) -> Tensor:
    """facexlib's `align_warp_face`: the whole head, with the pixels of cv2.warpAffine and grey outside the photograph.

    facexlib takes its own detector's landmarks and cv2's least median of squares; this takes the encoder's landmarks
    and the least-squares similarity, which are the same where the landmarks fit the template well.
    """
    image, landmarks = _no_longer_than(_LONGEST, image, faces.landmarks)
    matrices = similarity_transform(landmarks, landmarks.new_tensor(HEAD_TEMPLATE) * (size / HEAD_SIDE))
    inside = torch.ones_like(image[..., :1])
    chips = warp(torch.cat([image, inside], -1), faces.image_index, matrices, size, antialias=False)
    return chips[:, :3] + (1 - chips[:, 3:]) * chips.new_tensor(_BORDER)[:, None, None]


def _no_longer_than(longest, image, points):
    """An image [B,H,W,3] shrunk to a longer side of so many pixels if it has more, and points [N,P,2] in it."""
    height, width = image.shape[1:3]
    if max(height, width) <= longest:
        return image, points
    scale = longest / max(height, width)
    size = int(height * scale), int(width * scale)
    image = F.interpolate(image.movedim(-1, 1), size, mode="bicubic", antialias=True).clamp(0, 1).movedim(1, -1)
    return image, (points + 0.5) * scale - 0.5


# Name in a Look -> what cuts it out of images [B,H,W,3].
CROPS: dict[str, Crop] = {"face": arcface_crop, "ffhq": ffhq_crop, "head": head_crop}
