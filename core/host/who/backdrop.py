"""Backdrops of the pictures that adapters look at, by the face parser from ComfyUI's model folders."""

import torch

from ...faces.regions.backdrop import BACKDROPS
from ...sizes import height_width
from ..faces.parser import needed_parser


def on_backdrop(backdrop: str, crops: torch.Tensor, file_name: str) -> torch.Tensor:
    """Crops [N,3,S,S] RGB in 0..1 as a Look wants them; ValueError with one sentence where no parser is there."""
    if backdrop == "kept":
        return crops
    parser = needed_parser(f"{file_name} wants the face cut out of its picture")
    labels = parser.labels(crops.movedim(1, -1), height_width(crops.shape))
    return BACKDROPS[backdrop](crops, labels.to(crops.device))
