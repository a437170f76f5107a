"""Masks of faces for the nodes, from boxes, landmarks or the face parser."""

import torch

from ...faces.found import Faces
from ...faces.regions import masks
from ..comfyui.images import as_image, pixels
from .encoder import LoadedEncoder
from .parser import needed_parser

_WHY = "The mask_from is parser (landmarks needs none)"


def face_masks(
    encoder: LoadedEncoder, image: torch.Tensor, faces: Faces, mask_from: str, soft_edge: float
) -> torch.Tensor:
    """One mask per picture [B,H,W] on the compute device, white where its faces are.

    `mask_from` is one of faces.masks.MASKS, `soft_edge` how wide the edge is in widths of the face. Raises ValueError
    with one sentence where the parser is asked for and there is none.
    """
    if mask_from == "box" or not faces.total:
        return masks.boxes(faces, soft_edge)
    points = encoder.landmarks68(image, faces)
    if mask_from == "landmarks":
        return masks.hulls(faces, points, soft_edge)
    parser = needed_parser(_WHY)
    on_device = pixels(as_image(image), faces.boxes.device)
    return masks.parsed(faces, points, on_device, parser.probabilities, soft_edge)


def check_masks(mask_from: str) -> None:
    """ValueError with one sentence where masks can't be made that way; for asking before the work."""
    if mask_from == "parser":
        needed_parser(_WHY)
