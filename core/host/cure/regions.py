"""Attributes located by a face parser, on the picture that the model is about to draw without the identity."""

import logging
from dataclasses import dataclass

import torch
from comfy.model_base import BaseModel
from comfy.sd import VAE

from ...cure import Attribute
from ...cure.parsing import classes_of
from ...sizes import height_width
from ..faces.parser import LoadedParser, find_parser


@dataclass(frozen=True)
class RegionReader:
    """Parses predicted pictures. `classes` has the parser's classes of each attribute, none where it has none."""

    parser: LoadedParser
    vae: VAE
    classes: tuple[tuple[int, ...], ...]

    def regions(self, model: BaseModel, predicted: torch.Tensor) -> list[torch.Tensor | None]:
        """How likely each cell of predicted pictures [B,C,H,W], in the model's own space, shows each attribute.

        [B,1,H,W] in 0..1 per attribute; None where the parser knows nothing of it.
        """
        image = self.vae.decode(model.process_latent_out(predicted.float())).clamp(0, 1)
        wanted = sorted({number for numbers in self.classes for number in numbers})
        found = self.parser.probabilities(image, wanted, height_width(predicted.shape)).to(predicted)
        return [
            found[:, [wanted.index(number) for number in numbers]].sum(dim=1, keepdim=True) if numbers else None
            for numbers in self.classes
        ]

    def models(self) -> list:
        """What has to stay on the device during a run; else loading it could push the model out."""
        return [self.vae.patcher, self.parser.patcher]


def region_reader(vae: VAE | None, attributes: list[Attribute]) -> RegionReader | None:
    """A reader for these attributes; None, with a word to the artist, where no parser is there or could help."""
    classes = tuple(classes_of(attribute) for attribute in attributes)
    if vae is None or not any(classes):
        return None
    parser = find_parser()
    if parser is None:
        logging.warning(
            "Likeness: AttributeCure has a vae, but there is no face parser in models/face_parsing; it goes without."
        )
        return None
    return RegionReader(parser, vae, classes)
