"""Finding faces for the nodes: detection, choice, the no-face policy, and what is shown of it."""

from dataclasses import dataclass

import torch

from ..faces.encoder import Faces, parse_index
from ..faces.overlay import box_masks, draw_faces
from ..faces.policy import faceless, refuse_faceless
from .encoder import LoadedEncoder, checked

CROP_SIZE = 256


@dataclass(frozen=True)
class Detection:
    """Faces of a batch: cut-outs [N,256,256,3], masks [B,H,W], a preview [B,H,W,3] and a description per image."""

    faces: Faces
    crops: torch.Tensor
    mask: torch.Tensor
    preview: torch.Tensor
    description: list[dict]


def choose_faces(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    order: str,
    index: str,
    on_no_face: str,
    at_least_one: bool = False,
    what: str = "image",
) -> Faces:
    """Detect and choose faces; NoFaceError when the policy forbids what is left without one (see refuse_faceless)."""
    parse_index(index)  # a bad one is refused before the work
    found = encoder.detect(image)
    faces = found.select(order, index)
    refuse_faceless(found.counts, faces.counts, faces.image_size, on_no_face, at_least_one, what)
    return faces


def detect_faces(encoder: LoadedEncoder, image: torch.Tensor, order: str, index: str, on_no_face: str) -> Detection:
    """Everything DetectFaces puts out. With "skip" images without a face are not in the masks."""
    image = checked(image)
    faces = choose_faces(encoder, image, order, index, on_no_face)
    mask = box_masks(faces)
    if on_no_face == "skip":
        left_out = set(faceless(faces.counts))
        mask = mask[[i for i in range(len(mask)) if i not in left_out]]
    described = faces.describe()
    return Detection(
        faces, encoder.crop(image, faces, CROP_SIZE).cpu(), mask.cpu(), draw_faces(image, described), described
    )
