"""Moving a W+ code along a direction of StyleGAN's space: older, smiling, with glasses and so on.

`code + strength * direction` on some of the 18 rows, as the W+ adapter's authors edit (Li, Hou, Loy 2024). Directions
are InterFaceGAN's, one row for all (Shen et al. 2020), or have a row for each.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...quoted import quoted
from ...weights import WeightsError, read_weights
from .identity import Identity

ROWS, WIDTH = 18, 512
ALL = "all"
_NPY, _NPY_START = ".npy", b"\x93NUMPY"
_KEY = "direction"


def read_direction(path: Path) -> Tensor:
    """A direction [1 or 18, 512] float32 from `.npy`, `.pt` or `.safetensors`; WeightsError with one sentence.

    The file holds one tensor: [512], [1,512], [18,512] or [1,18,512].
    """
    with path.open("rb") as file:
        is_npy = file.read(len(_NPY_START)) == _NPY_START
    found = [_read_npy(path)] if is_npy else list(read_weights(path, lone=_KEY).tensors.values())
    if len(found) != 1 or found[0].numel() not in (WIDTH, ROWS * WIDTH) or found[0].shape[-1:] != (WIDTH,):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in found[:3])
        raise WeightsError(
            f"{path.name} holds {shapes}{', ...' if len(found) > 3 else ''}, but a direction is one tensor of "
            f"[{WIDTH}] or [{ROWS}, {WIDTH}] numbers; choose another file."
        )
    direction = found[0].reshape(-1, WIDTH).float()
    if not direction.isfinite().all():
        raise WeightsError(f"{path.name} is damaged: it has values that are no numbers; fetch it again.")
    return direction


def _read_npy(path):
    try:
        # mapped, so that a header's claim is checked against the file before anything is made
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype.kind not in "fiu":
            raise ValueError(f"an array of {values.dtype}")
        with np.errstate(all="ignore"):  # what is too large becomes infinite, and that is refused
            return torch.from_numpy(np.array(values, dtype=np.float32))
    # numpy has the header parsed as Python, and which error an odd one ends in depends on where it is odd
    except Exception as error:
        raise WeightsError(f"{path.name} is no array of numbers, or damaged; fetch it again.") from error


def parse_layers(layers: str) -> list[int]:
    """Rows of the code in words such as "0-7", "0-3, 8" or "all"; ValueError with one sentence for anything else."""
    if layers.strip() == ALL:
        return list(range(ROWS))
    rows: list[int] = []
    for part in layers.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and int(end[:3]) < ROWS for end in ends):
            raise ValueError(
                f'The layers {quoted(layers)} are not understood: write "all", or numbers from 0 to {ROWS - 1} such as '
                '"0-7" or "0-3, 8".'
            )
        rows += range(int(ends[0]), int(ends[1]) + 1)
    return rows


def edit(identity: Identity, direction: Tensor, strength: float, rows: list[int]) -> Identity:
    """The identity moved by `strength` along a direction [1 or 18, 512] in some rows; at 0 the very same object.

    Raises ValueError with one sentence for an identity that is no W+ code.
    """
    if identity.is_empty or strength == 0:
        return identity
    if identity.dim != ROWS * WIDTH:
        raise ValueError(
            f"EditIdentity moves W+ codes of {ROWS * WIDTH} numbers, but this identity was made by {identity.space} "
            f"({identity.dim} numbers); choose e4e_ffhq_encode.pt in LoadFaceEncoder and encode the photograph again."
        )
    kept = torch.zeros(ROWS, 1)
    kept[rows] = strength
    step = (kept * direction).flatten().to(identity.vector)
    return replace(identity, vector=identity.vector + step, vectors=identity.vectors + step)
