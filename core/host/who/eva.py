"""EVA-CLIP from ComfyUI's model folders, under its memory management: no socket of ComfyUI carries it."""

import logging
import os
from functools import partial

import torch
from comfy.model_patcher import ModelPatcher

from ...adapters import VISION, Seen
from ...vision.eva import load_eva
from ...weights import WeightsError, read_weights
from ..comfyui import folders
from ..comfyui.managed import OPERATIONS, loaded, managed_from

EVA = "eva-l336"


def find_eva(adapter: str) -> ModelPatcher:
    """EVA-CLIP from the first file that holds it; ValueError with one sentence when none does. `adapter` wants it."""
    for path in folders.eva_paths():
        name = os.path.basename(path)
        try:
            return managed_from(partial(_eva_of, path, name))
        except WeightsError as error:
            if "eva" in name.lower():  # any other is of another kind, and there for another use
                logging.warning("Likeness: %s", error)
    vision = VISION[EVA]
    raise ValueError(
        f"{adapter} looks at the picture through {vision.title}, and no file in models/"
        f"{', '.join(folders.EVA_FOLDERS)} holds it; put {vision.source} into models/{vision.folder}."
    )


def _eva_of(path, name):
    return load_eva(read_weights(path).tensors, name, operations=OPERATIONS)


def eva_fingerprint() -> str:
    """Changes when a file that could hold EVA-CLIP does, comes or goes."""
    return folders.files_fingerprint(folders.eva_paths())


def see_by_eva(crops: torch.Tensor, patcher: ModelPatcher) -> tuple[Seen, Seen]:
    """What EVA-CLIP sees in crops [N,3,S,S] (RGB, 0..1), and zeros for an empty picture, as PuLID has it."""
    pooled, hidden = loaded(patcher)(crops.to(patcher.load_device, torch.float32))
    seen = Seen(hidden, pooled)
    return seen, seen.map(lambda rows: torch.zeros_like(rows[:1]))
