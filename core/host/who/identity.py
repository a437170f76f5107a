"""Identities for the nodes: encoding photographs, and files in ComfyUI's input and output folders."""

import itertools
import os
from pathlib import Path

import folder_paths
import torch

from ...faces.found import Faces
from ...faces.identity.identity import Identity, agreement, combine_identity, outliers, same_person
from ...faces.identity.identity_file import load_identity, save_identity
from ...faces.identity.identity_report import Reference, identity_report
from ...faces.identity.quality import Quality
from ...faces.policy import faceless
from ...quoted import quoted
from ..comfyui import folders
from ..faces.detection import choose_faces
from ..faces.encoder import LoadedEncoder

_ENDING = ".safetensors"
_PLACES = ("input", "output")


def encode_identity(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    combine: str,
    face_index: str,
    on_no_face: str,
    what: str = "image",
    found: Faces | None = None,
) -> tuple[Identity, str]:
    """The identity of the person in a batch of photographs, and a report as text.

    Photographs without a face: see the no-face policy; "skip" wants at least one face, "passthrough" makes do with an
    empty identity. `what` is the name of the input for messages, `found` the faces if they are known already. Raises
    NoFaceError or ValueError with one sentence.
    """
    faces = choose_faces(encoder, image, "largest", face_index, on_no_face, at_least_one=True, what=what, found=found)
    identity, quality, kept = encode_faces(encoder, image, faces, combine)
    report = identity_report(_references(identity, faces, quality, kept), len(faces.counts), encoder.space, combine,
                             identity.combine)  # fmt: skip
    left_out = [f"Photograph {index + 1}: no face, left out." for index in faceless(faces.counts)]
    return identity, "\n".join([report, *left_out])


def encode_faces(
    encoder: LoadedEncoder, image: torch.Tensor, faces: Faces, combine: str
) -> tuple[Identity, Quality, torch.Tensor]:  # fmt: skip
    """The identity of faces found in `image`, the quality of each, and which of them went in, bool [N]."""
    vectors, quality = encoder.embed(image, faces), encoder.quality(image, faces)
    identity, kept = combine_identity(encoder.space, vectors, faces.scores, combine, quality.weight)
    return identity, quality, kept


def _references(identity, faces, quality, kept):
    strangers = outliers(identity.vectors, same_person(identity.space))
    columns = (*quality, quality.weight, agreement(identity.vectors), kept, strangers)
    table = torch.stack([column.float() for column in columns], 1).tolist()  # host read: the report is text
    photographs = [number for number, count in enumerate(faces.counts) for _ in range(count)]
    return [
        Reference(photograph, agrees, dict(zip(quality._fields, parts, strict=True)), weight, bool(used), bool(strange))
        for photograph, (*parts, weight, agrees, used, strange) in zip(photographs, table, strict=True)
    ]


def save(identity: Identity, filename_prefix: str) -> dict:
    """Save under ComfyUI's output folder with the next free number; returns filename, subfolder and type."""
    if identity.is_empty:
        raise ValueError(
            "There is nothing to save, because no photograph of this identity has a face; encode one that has."
        )
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        filename = _save_numbered(identity, Path(folder), name, counter)
    # ComfyUI refuses what leads out of its folder with a bare Exception, the system what it can't write with its own.
    except Exception as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) else ""
        raise ValueError(
            f"The identity can't be saved as {quoted(filename_prefix)}{reason}; filename_prefix must be a name inside "
            "ComfyUI's output folder, such as identities/anna, and the folder must be writable and have room."
        ) from error
    return {"filename": filename, "subfolder": subfolder, "type": "output"}


def _save_numbered(identity, folder, name, first):
    """Save under the first number from `first` on that is free; another ComfyUI may save into the same folder."""
    for number in itertools.count(first):
        path = folder / f"{name}_{number:05}_{_ENDING}"
        try:
            save_identity(identity, path)
        except FileExistsError:
            continue
        return path.name


def files() -> list[str]:
    """Candidates in the input and output folders as `name.safetensors [input]`."""
    found = []
    for place in _PLACES:
        root = folder_paths.get_directory_by_type(place)
        names, _ = folder_paths.recursive_search(root, excluded_dir_names=[".git"])
        found += [f"{name.replace(os.sep, '/')} [{place}]" for name in names if name.lower().endswith(_ENDING)]
    return sorted(found)


def _path(identity_file: str) -> Path:
    if identity_file in files():
        name, _, place = identity_file.rpartition(" [")
        return Path(folder_paths.get_directory_by_type(place.rstrip("]")), name)
    found = ", ".join(files()) or "none"
    raise ValueError(
        f"The identity file {quoted(identity_file)} was not found in ComfyUI's input or output folder; "
        f"save one with SaveIdentity or copy it there. Found: {found}."
    )


def why_not_loadable(identity_file: str) -> str | None:
    """One sentence when there is no such file, None when there is; asked before the prompt is queued."""
    try:
        _path(identity_file)
    except ValueError as error:
        return str(error)
    return None


def identity_fingerprint(identity_file: str) -> str:
    """Changes when the file does, so that a replaced file is read again."""
    return folders.file_fingerprint(_path(identity_file))


def load_identity_named(identity_file: str) -> Identity:
    """Load an identity by its combo value."""
    return load_identity(_path(identity_file))
