"""Directions in which EditIdentity moves a face: the files in models/likeness_directions."""

import os
from pathlib import Path

import folder_paths

from ...faces.identity import directions
from ...faces.identity.identity import Identity
from ...quoted import quoted
from ..comfyui import folders


def names() -> list[str]:
    """What EditIdentity's `direction` offers."""
    return list(folders.direction_files())


def why_not_found(name: str) -> str | None:
    """One sentence when no listed file has this name, None when one has."""
    if name in names():  # a list: what a prompt says may be of any type
        return None
    found = ", ".join(names()) or "none"
    where = os.path.join(folder_paths.models_dir, folders.DIRECTION_FOLDER)
    return (
        f"The direction {quoted(name)} was not found; put its file (.npy, .pt or .safetensors, such as those in "
        f"w_direction of csxmli2016/w-plus-adapter on GitHub) into {where} and refresh the page. Found: {found}."
    )


def direction_fingerprint(name: str) -> str:
    """Changes when the file behind a name does, so that a replaced one is read again."""
    return folders.file_fingerprint(_path(name))


def _path(name: str) -> Path:
    reason = why_not_found(name)
    if reason is not None:
        raise ValueError(reason)
    return Path(folders.direction_files()[name])


def edit(identity: Identity, direction: str, strength: float, layers: str) -> Identity:
    """The identity moved along the direction of a combo value; ValueError with one sentence when that can't be."""
    rows = directions.parse_layers(layers)
    return directions.edit(identity, directions.read_direction(_path(direction)), strength, rows)
