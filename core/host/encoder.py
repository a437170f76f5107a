"""Face encoders under ComfyUI's memory management."""

from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from comfy.model_patcher import ModelPatcher

from ..faces.broken import no_colours, why_no_face
from ..faces.details import Details
from ..faces.encoder import FaceEncoder, Faces
from ..faces.head_pose import fit_to, head_pose, load_mean_shape
from ..faces.policy import picture_name
from ..faces.quality import Quality, quality_of
from ..faces.search import search
from .encoder_files import load_details_module, load_module
from .managed import loaded, managed, managed_from
from .progress import watched

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
        image, found = checked(image), []
        for part in watched(image.split(_BATCH), len(image), "Looking for faces"):
            found.append(search(detect, self._to_device(part), self.search, self.min_size, module.sure))
        return Faces.concatenate(found)

    def embed(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """Un-normalised embeddings [N,dim] of faces found in `image`."""
        return self._module().embed(self._to_device(checked(image)), faces)

    def quality(self, image: torch.Tensor, faces: Faces) -> Quality:
        """How good the faces found in `image` are for recognising somebody, [N] per part."""
        module = self._module()
        return quality_of(self._to_device(checked(image)), faces, module.template, module.chip_size)

    def crop(self, image: torch.Tensor, faces: Faces, size: int) -> torch.Tensor:
        """Square cut-outs with some surroundings as IMAGE [N,size,size,3]."""
        return self._module().crop(self._to_device(checked(image)), faces, size).movedim(1, -1)

    def landmarks68(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """68 landmarks [N,68,2] in pixels of faces found in `image`, see FaceEncoder.landmarks68."""
        return self._module().landmarks68(self._to_device(checked(image)), faces)

    def details(self, image: torch.Tensor, faces: Faces) -> Details:
        """What the encoder's pack knows about faces found in `image`; the embedded encoder knows their pose."""
        image = self._to_device(checked(image))
        patcher = self.lazy_details.patcher
        if patcher is not None:
            return loaded(patcher)(image, faces)
        return Details(pose=head_pose(self._module().landmarks68(image, faces), fit_to(load_mean_shape())))

    def prepared(self, image: torch.Tensor) -> torch.Tensor:
        """An IMAGE as the encoder takes it: three colours, float32 on the compute device."""
        return self._to_device(checked(image))

    def _module(self) -> FaceEncoder:
        return loaded(self.patcher)

    def _to_device(self, image):
        return pixels(image, self.patcher.load_device)


def load(
    encoder: str, detector: str, min_confidence: float, search: str = "auto", min_size: int = 0
) -> LoadedEncoder:  # fmt: skip
    """Load an encoder by its combo values; the rest as in LoadedEncoder.

    WeightsError or ValueError with one sentence when that can't be done.
    """
    patcher = managed_from(partial(load_module, encoder, detector))
    return LoadedEncoder(patcher.model.space, patcher, min_confidence, search, min_size, LazyDetails(encoder))


def checked(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE with its three colours, grey repeated and alpha left out; ValueError with one sentence if it is none."""
    if not image.is_floating_point():
        kind = str(image.dtype).removeprefix("torch.")
        raise ValueError(
            f"An IMAGE has colours as fractions from 0 to 1, but this one has whole numbers ({kind}); connect pictures "
            "as Load Image or VAE Decode gives them."
        )
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An IMAGE has the shape [batch, height, width, 3], but this one is {list(image.shape)}; connect pictures "
            "as Load Image or VAE Decode gives them."
        )
    return image.expand(-1, -1, -1, 3) if image.shape[-1] == 1 else image[..., :3]


def check_colours(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE that is looked at as a whole; ValueError with one sentence if its numbers are no colours."""
    for number, picture in enumerate(image):
        wrong = no_colours(picture)  # host read: a vision model takes NaN for a picture
        if wrong is not None:
            raise ValueError(_sentence(number, len(image), "image", wrong))
    return image


def broken_picture(image: torch.Tensor, faceless: list[int], what: str = "image") -> str | None:
    """One sentence on the first of the pictures without a face in which nobody could find one; None: all are in order.

    `what` names the input.
    """
    for number in faceless:
        wrong = why_no_face(image[number])  # host read: only where no face was found
        if wrong is not None:
            return _sentence(number, len(image), what, wrong)
    return None


def _sentence(number, count, what, wrong):
    name = picture_name([number], count, what)
    return f"{name[0].upper()}{name[1:]} {wrong}"


def pixels(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An IMAGE as float32 on a device, as if it had been saved: what is outside 0..1 is cut off, what is none black."""
    return image.to(device, torch.float32).nan_to_num(0.0).clamp(0, 1)
