"""The face parser from ComfyUI's model folders, under its memory management."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher

from ..faces.parser import GRID, load_parser
from ..weights import WeightsError, read_weights
from .encoder import checked, pixels
from .folders import fingerprint, parser_paths
from .managed import OPERATIONS, loaded, managed
from .progress import watched

_BATCH = 4  # images parsed at once; each takes up to 100 MB


@dataclass(frozen=True)
class LoadedParser:
    """A face parser. All images are ComfyUI's IMAGE: [B,H,W,3], RGB, 0..1; what comes out is on the compute device."""

    file_name: str
    patcher: ModelPatcher

    def labels(self, image: torch.Tensor, size: tuple[int, int] = GRID) -> torch.Tensor:
        """The likeliest class of every cell, [B,h,w] with (h,w) = `size`, by the numbers of faces.parser.CLASSES."""
        return self._in_parts(image, lambda module, part: module.labels(part, size))

    def probabilities(self, image: torch.Tensor, classes: Sequence[int], size: tuple[int, int] = GRID) -> torch.Tensor:
        """How likely each cell is of each of some classes, at least one: [B,K,h,w] in 0..1 with (h,w) = `size`."""
        return self._in_parts(image, lambda module, part: module.probabilities(part, classes, size))

    def _in_parts(self, image, work):
        module, image, parts = loaded(self.patcher), checked(image), []
        for part in watched(image.split(_BATCH), len(image), "Parsing faces"):
            parts.append(work(module, pixels(part, self.patcher.load_device)))
        return torch.cat(parts)


SOURCE = "face-parsing.PyTorch's 79999_iter.pth or facexlib's parsing_bisenet.pth"

# What the folder held when it was last looked through, and the parser that was found then.
_found: tuple[tuple | None, LoadedParser | None] = (None, None)


def find_parser() -> LoadedParser | None:
    """The parser in the first file of models/face_parsing, by name, that holds one; None when no file does.

    Every file before it is logged with one sentence on why it is passed over. Files are read once, until one of them
    changes, comes or goes. Nothing is downloaded.
    """
    global _found
    paths = parser_paths()
    content = tuple((path, fingerprint(path)) for path in paths)
    if _found[0] != content:
        _found = content, _first(paths)
    return _found[1]


def needed_parser(why: str) -> LoadedParser:
    """The same where it can't be done without; ValueError with one sentence, which `why` opens, when there is none."""
    parser = find_parser()
    if parser is None:
        raise ValueError(f"{why}, which takes a face parser; put one ({SOURCE}) into models/face_parsing.")
    return parser


def _first(paths):
    for path in paths:
        try:
            module = load_parser(read_weights(path).tensors, os.path.basename(path), operations=OPERATIONS)
        except WeightsError as error:
            logging.warning("Likeness: %s", error)
        else:
            return LoadedParser(os.path.basename(path), managed(module))
    return None
