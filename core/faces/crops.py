"""How adapters want the picture of a face cut out; every crop is RGB in 0..1, [N,3,size,size]."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..pillow import LANCZOS, resized
from .align.alignment import Alignment, LandmarksOf, arcface
from .align.ffhq import FFHQ
from .align.templates import HEAD_SIDE, HEAD_TEMPLATE
from .align.transforms import similarity_transform, warp
from .found import Faces

_BORDER = (132 / 255, 133 / 255, 135 / 255)  # facexlib's grey outside a photograph, RGB
_LONGEST = 1024  # pixels of a photograph's longer side, beyond which PuLID's demonstrations shrink it first


class Head(Alignment):
    """facexlib's `align_warp_face`: the whole head, with the pixels of cv2.warpAffine and grey outside the photograph.

    facexlib takes its own detector's landmarks and cv2's least median of squares; this takes the encoder's landmarks
    and the least-squares similarity, which are the same where the landmarks fit the template well.
    """

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        image, landmarks = _no_longer_than(_LONGEST, image, faces.landmarks)
        matrices = similarity_transform(landmarks, landmarks.new_tensor(HEAD_TEMPLATE) * (self.side / HEAD_SIDE))
        inside = torch.ones_like(image[..., :1])
        chips = warp(torch.cat([image, inside], -1), faces.image_index, matrices, self.side, antialias=False)
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


class Square(Alignment):
    """WithAnyone's face: the detector's box in whole pixels, its shorter side drawn out to the longer one's length.

    What is outside the photograph is cut off, and what is left squeezed into a square. Boxes are those of
    `faces.on_host`, so nothing is read.
    """

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        photographs = [picture for picture, count in zip(image, faces.counts, strict=True) for _ in range(count)]
        chips = []
        for picture, face in zip(photographs, faces.on_host, strict=True):
            left, top, right, bottom = map(int, face.box)
            wider = max(0, bottom - top - (right - left))
            taller = max(0, right - left - (bottom - top))
            columns = _inside(left - wider // 2, right + wider - wider // 2, image.shape[2])
            rows = _inside(top - taller // 2, bottom + taller - taller // 2, image.shape[1])
            chips.append(resized(picture[rows, columns].movedim(-1, 0), self.side, self.side, LANCZOS))
        return torch.stack(chips) if chips else image.new_zeros(0, 3, self.side, self.side)


def _inside(first, end, length):
    """The pixels from `first` to `end` that a side has, and at least one."""
    first = min(max(first, 0), length - 1)
    return slice(first, max(min(end, length), first + 1))


# Name in a Look -> what cuts it out, by its side in pixels.
CROPS: dict[str, Callable[[int], Alignment]] = {"face": arcface, "ffhq": FFHQ, "head": Head, "square": Square}
