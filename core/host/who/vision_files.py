"""Vision models from ComfyUI's model folders, under its memory management, which no socket of ComfyUI carries.

EVA-CLIP; and SigLIP, of which ComfyUI's CLIP_VISION gives no embedding of the whole picture.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...adapters import VISION, Seen
from ...vision.eva import load_eva
from ...vision.siglip import load_siglip
from ...weights import WeightsError, read_weights
from ..comfyui import folders
from ..comfyui.managed import OPERATIONS, loaded, managed_from


@dataclass(frozen=True)
class _File:
    """load: a file's tensors -> the module, or WeightsError; words: of which its name has one, as a rule."""

    load: Callable[..., nn.Module]
    words: tuple[str, ...]


def _siglip(key, side):
    # the file with SigLIP's vision half that FLUX Redux comes with is called sigclip
    return _File(partial(load_siglip, width=VISION[key].width, side=side), ("siglip", "sigclip"))


_FILES = {
    "eva-l336": _File(load_eva, ("eva",)),
    "siglip-b256": _siglip("siglip-b256", 256),
    "siglip-so400m": _siglip("siglip-so400m", 384),
}


def in_a_file(key: str | None) -> bool:
    """Whether a vision model, a key of VISION, is looked for here and comes over no socket."""
    return key in _FILES


def find_vision(key: str, adapter: str) -> ModelPatcher:
    """A vision model from the first file that holds it; ValueError with one sentence when none does.

    `adapter` wants it. The log says why a file that is called like it does not do.
    """
    reasons = []
    for path in folders.vision_paths(_FILES[key].words):
        name = os.path.basename(path)
        try:
            return managed_from(partial(_module_of, key, path, name))
        except WeightsError as error:
            called = os.path.join(os.path.basename(os.path.dirname(path)), name).lower()
            if any(word in called for word in _FILES[key].words):  # any other is there for another use
                reasons.append(str(error))
    for reason in reasons:
        logging.warning("Likeness: %s", reason)
    vision = VISION[key]
    raise ValueError(
        f"{adapter} looks at the picture through {vision.title}, and no file in models/"
        f"{', '.join(folders.VISION_FOLDERS)} holds it; put {vision.source} into models/{vision.folder}."
    )


def _module_of(key, path, name):
    return _FILES[key].load(read_weights(path).tensors, name=name, operations=OPERATIONS)


def vision_fingerprint() -> str:
    """Changes when a file that could hold one of these models does, comes or goes."""
    return folders.files_fingerprint(folders.vision_paths())


def see_by_file(crops: torch.Tensor, patcher: ModelPatcher) -> tuple[Seen, Seen]:
    """What one of these models sees in crops [N,3,S,S] (RGB, 0..1), and zeros for an empty picture, as PuLID has it and
    those who look by SigLIP."""
    pooled, hidden = loaded(patcher)(crops.to(patcher.load_device, torch.float32))
    seen = Seen(hidden, pooled)
    return seen, seen.map(lambda rows: torch.zeros_like(rows[:1]))
