"""How faces are cut out of pictures for whatever looks at them; other ways are in `ffhq`, `boxes` and `windows`."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from ..found import Faces
from .templates import Points, arcface_template, dlib_template
from .transforms import similarity_transform, warp

LandmarksOf = Callable[[Tensor, Faces], Tensor]  # as FaceEncoder.landmarks68


class Alignment(ABC):
    """side: of the chips in pixels, the height where they are no squares. template: where the five landmarks lie in a
    chip, for judging a face; dlib's where they are not what is aligned."""

    def __init__(self, side: int, template: Points | None = None):
        self.side = side
        self.template = template or dlib_template(side)

    @abstractmethod
    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        """Chips [N, 3, height, width] float32, RGB in 0..1, of the faces found in image [B, H, W, 3]."""


class FivePoints(Alignment):
    """The five landmarks go to a template in chip pixels, by the similarity that fits best.

    antialias: whether chips average the pixels that they leave out; without, they are those of cv2.warpAffine, which
    InsightFace's adapters were trained on.
    """

    def __init__(self, template: Points, side: int, antialias: bool = False):
        super().__init__(side, template)
        self.antialias = antialias

    def chips(self, image: Tensor, faces: Faces, landmarks68: LandmarksOf) -> Tensor:
        matrices = similarity_transform(faces.landmarks, faces.landmarks.new_tensor(self.template))
        return warp(image, faces.image_index, matrices, self.side, self.antialias)


def arcface(side: int) -> FivePoints:
    """InsightFace's `norm_crop`; ValueError for a side that ArcFace's template does not fit."""
    return FivePoints(arcface_template(side), side)
