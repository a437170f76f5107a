"""Face encoders under ComfyUI's memory management."""

from dataclasses import dataclass
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar

from ..faces.encoder import FaceEncoder, Faces, load_embedded
from ..faces.search import MODES as SEARCHES  # noqa: F401  (the node's choices)
from ..faces.search import search
from .managed import OPERATIONS, check_interrupted, loaded, managed

ENCODERS = ("embedded",)
DETECTORS = ("auto",)  # each encoder has one detector so far: MTCNN belongs to "embedded"
_BATCH = 4  # images detected at once: bounds the memory of the image pyramids


@dataclass(frozen=True)
class LoadedEncoder:
    """A face encoder, the confidence a face must have, how pictures are looked through (one of SEARCHES), and the pixels
    that the longer side of a box must have. All images are ComfyUI's IMAGE: [B,H,W,3], RGB, 0..1."""

    space: str
    patcher: ModelPatcher
    min_confidence: float
    search: str = "plain"
    min_size: int = 0

    def detect(self, image: torch.Tensor) -> Faces:
        """All faces of a batch of images, on the compute device."""
        detect = partial(self._module().detect, min_confidence=self.min_confidence)
        image, found = checked(image), []
        progress = ProgressBar(len(image))
        for part in image.split(_BATCH):
            check_interrupted()
            found.append(search(detect, self._to_device(part), self.search, self.min_size))
            progress.update(len(part))
        return Faces.concatenate(found)

    def embed(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """Un-normalised embeddings [N,dim] of faces found in `image`."""
        return self._module().embed(self._to_device(checked(image)), faces)

    def crop(self, image: torch.Tensor, faces: Faces, size: int) -> torch.Tensor:
        """Square cut-outs with some surroundings as IMAGE [N,size,size,3]."""
        return self._module().crop(self._to_device(checked(image)), faces, size).movedim(1, -1)

    def landmarks68(self, image: torch.Tensor, faces: Faces) -> torch.Tensor:
        """68 landmarks [N,68,2] in pixels of faces found in `image`, see FaceEncoder.landmarks68."""
        return self._module().landmarks68(self._to_device(checked(image)), faces)

    def _module(self) -> FaceEncoder:
        return loaded(self.patcher)

    def _to_device(self, image):
        return pixels(image, self.patcher.load_device)


def load(name: str, min_confidence: float, search: str = "auto", min_size: int = 0) -> LoadedEncoder:
    """Load an encoder by its combo value; the rest as in LoadedEncoder."""
    if name not in ENCODERS:
        raise ValueError(f"The face encoder {name!r} was not found; choose one of: {', '.join(ENCODERS)}.")
    module = load_embedded(operations=OPERATIONS)
    return LoadedEncoder(module.space, managed(module), min_confidence, search, min_size)


def checked(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE with its three colours, grey repeated and alpha left out; ValueError with one sentence if it is none."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An IMAGE has the shape [batch, height, width, 3], but this one is {list(image.shape)}; connect pictures "
            "as Load Image or VAE Decode gives them."
        )
    return image.expand(-1, -1, -1, 3) if image.shape[-1] == 1 else image[..., :3]


def pixels(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An IMAGE as float32 on a device, as if it had been saved: what is outside 0..1 is cut off, what is none black."""
    return image.to(device, torch.float32).nan_to_num(0.0).clamp(0, 1)
