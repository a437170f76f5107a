"""Face encoders under ComfyUI's memory management."""

from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from comfy.model_patcher import ModelPatcher

from ...faces.detect.search import search
from ...faces.encoder import FaceEncoder
from ...faces.found import Faces
from ...faces.identity.quality import Quality, quality_of
from ...faces.onnx.details import Details
from ...faces.points.head_pose import fit_to, head_pose, load_mean_shape
from ..comfyui.images import as_image, pixels
from ..comfyui.managed import loaded, managed, managed_from
from ..comfyui.progress import watched
from .encoder_files import load_details_module, load_module

_BATCH = 4  # images detected at once: bounds the memory of the image pyramids


class LazyDetails:
    """A pack's landmark, pose, gender and age networks, read when somebody asks: the largest has 144 MB."""

    def __init__(self, name: str):
        self._name = name

    @cached_property
    def patcher(self) -> ModelPatcher | None:
        """The networks under ComfyUI's memory management; None when the encoder's pack has none, or is no pack."""
        module = load_details_module(self._name)
        return None if module is None else managed(module, partial(load_details_module, self._name))

    def get_models(self) -> list[ModelPatcher]:
        """What has been read so far."""
        read = vars(self).get("patcher")
        return [] if read is None else [read]


@dataclass(frozen=True)
class LoadedEncoder:
    """A face encoder and how pictures are looked through for faces: the confidence and size in pixels (longer side of
    the box) that a face must have, and one of search.MODES. All images are ComfyUI's IMAGE: [B,H,W,3], RGB, 0..1."""

    space: str
    patcher: ModelPatcher
    min_confidence: float
    search: str = "plain"
    min_size: int = 0
    lazy_details: LazyDetails = field(default_factory=lambda: LazyDetails(""))

    def get_models(self) -> list[ModelPatcher]:
        """What ComfyUI (since 0.30.0) keeps in memory while a prompt runs that has this encoder on its wires."""
        return [self.patcher, *self.lazy_details.get_models()]

    def detect(self, image: torch.Tensor) -> Faces:
        """All faces of a batch of images, on the compute device."""
        module = self._module()
        detect = partial(module.detect, min_confidence=self.min_confidence)
        image, found = as_image(image), []
        for part in watched(image.split(_BATCH), len(image), "Looking for faces"):
            found.append(search(detect, self._to_device(part), self.search, self.min_size, module.sure))
        return Faces.concatenate(found)

    def embed(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """Un-normalised embeddings [N,dim] of faces found in `image`."""
        return self._module().embed(self._to_device(as_image(image)), faces)

    def quality(self, image: torch.Tensor, faces: Faces) -> Quality:
        """How good the faces found in `image` are for recognising somebody, [N] per part."""
        return quality_of(self._to_device(as_image(image)), faces, self._module().alignment)

    def crop(self, image: torch.Tensor, faces: Faces, size: int) -> torch.Tensor:
        """Square cut-outs with some surroundings as IMAGE [N,size,size,3]."""
        return self._module().crop(self._to_device(as_image(image)), faces, size).movedim(1, -1)

    def landmarks68(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """68 landmarks [N,68,2] in pixels of faces found in `image`, see FaceEncoder.landmarks68."""
        return self._module().landmarks68(self._to_device(as_image(image)), faces)

    def details(self, image: torch.Tensor, faces: Faces) -> Details:
        """What the encoder's pack knows about faces found in `image`; the embedded encoder knows their pose."""
        image = self._to_device(as_image(image))
        patcher = self.lazy_details.patcher
        if patcher is not None:
            return loaded(patcher)(image, faces)
        return Details(pose=head_pose(self._module().landmarks68(image, faces), fit_to(load_mean_shape())))

    def prepared(self, image: torch.Tensor) -> torch.Tensor:
        """An IMAGE as the encoder takes it: three colours, float32 on the compute device."""
        return self._to_device(as_image(image))

    def _module(self) -> FaceEncoder:
        return loaded(self.patcher)

    def _to_device(self, image):
        return pixels(image, self.patcher.load_device)


def load_encoder(
    encoder: str, detector: str, min_confidence: float, search: str = "auto", min_size: int = 0
) -> LoadedEncoder:  # fmt: skip
    """Load an encoder by its combo values; the rest as in LoadedEncoder.

    WeightsError or ValueError with one sentence when that can't be done.
    """
    patcher = managed_from(partial(load_module, encoder, detector))
    return LoadedEncoder(patcher.model.space, patcher, min_confidence, search, min_size, LazyDetails(encoder))
