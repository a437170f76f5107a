"""The face parser from ComfyUI's model folders, under its memory management."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP

from ...faces.regions.parser import GRID, load_parser
from ...weights import WeightsError, read_weights
from ..comfyui import folders
from ..comfyui.images import as_image, pixels
from ..comfyui.managed import OPERATIONS, loaded, managed_from
from ..comfyui.progress import watched

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
        module, image, parts = loaded(self.patcher), as_image(image), []
        for part in watched(image.split(_BATCH), len(image), "Parsing faces"):
            parts.append(work(module, pixels(part, self.patcher.load_device)))
        return torch.cat(parts)


_SOURCE = "face-parsing.PyTorch's 79999_iter.pth, facexlib's parsing_bisenet.pth or ConsistentID's face_parsing.pth"

# The folder's fingerprint when it was last looked through, and the parser that was found then.
_found: tuple[str | None, LoadedParser | None] = (None, None)


def find_parser() -> LoadedParser | None:
    """The parser in the first file of models/face_parsing, by name, that holds one; None when no file does.

    Every file before it is logged with one sentence on why it is passed over. Files are read once, until one of them
    changes, comes or goes, or ComfyUI unloads the parser. Nothing is downloaded.
    """
    global _found
    content = parser_fingerprint()
    if _found[0] != content:
        _found = content, _first(folders.parser_paths())
    return _found[1]


def parser_fingerprint() -> str:
    """Changes when a file that could hold the parser does, comes or goes: what was made with another one is old."""
    return folders.files_fingerprint(folders.parser_paths())


def _forget(patcher, unloaded: bool):
    """Keep nothing of a parser that ComfyUI unloads, so that /free frees it. Called for clones that go, too."""
    global _found
    if unloaded and _found[1] is not None and _found[1].patcher.model is patcher.model:
        # in a cycle, so that it goes with the next garbage collection: ComfyUI is in the middle of unloading it
        last: list[Any] = [_found]
        last.append(last)
        _found = (None, None)


def needed_parser(why: str) -> LoadedParser:
    """The same where it can't be done without; ValueError with one sentence, which `why` opens, when there is none."""
    parser = find_parser()
    if parser is None:
        folder = os.path.join(folder_paths.models_dir, folders.PARSER_FOLDER)
        raise ValueError(f"{why}, which takes a face parser; put one ({_SOURCE}) into {folder}.")
    return parser


def _first(paths):
    for path in paths:
        try:
            patcher = managed_from(partial(_parser_of, path))
        except WeightsError as error:
            logging.warning("Likeness: %s", error)
        else:
            patcher.add_callback(CallbacksMP.ON_DETACH, _forget)
            return LoadedParser(os.path.basename(path), patcher)
    return None


def _parser_of(path):
    return load_parser(read_weights(path).tensors, os.path.basename(path), operations=OPERATIONS)
