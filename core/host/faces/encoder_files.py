"""Which face encoders and detectors there are, and loading one: the embedded ones, InsightFace packs, single files."""

import os
from collections.abc import Iterable
from pathlib import Path

import folder_paths

from ...faces.describe.descriptors import Descriptor, load_descriptor
from ...faces.detect.scrfd import load_scrfd
from ...faces.embedded import load_detector, load_embedded
from ...faces.encoder import FaceEncoder
from ...faces.onnx import onnx_roles as roles
from ...faces.onnx.details import FaceDetails, load_details
from ...faces.onnx.own_encoder import description_beside, load_own
from ...faces.onnx.packs import Pack, load_pack_descriptor, read_pack
from ...faces.points.landmarks68 import load_landmarks68
from ...faces.spaces import space_of
from ...quoted import quoted
from ...weights import read_weights
from ...weights.digest import digest_of
from ..comfyui import folders
from ..comfyui.managed import OPERATIONS, half_precision

EMBEDDED, AUTO, MTCNN = "embedded", "auto", "mtcnn"


def encoder_names() -> list[str]:
    """What LoadFaceEncoder's `encoder` offers: embedded, then packs, then single files."""
    return [EMBEDDED, *folders.packs(), *folders.encoder_files()]


def detector_names() -> list[str]:
    """What its `detector` offers: auto, the embedded one, then packs."""
    return [AUTO, MTCNN, *folders.packs()]


def why_not_found(name: str, kind: str) -> str | None:
    """One sentence when no `kind` ("encoder" or "detector") has this name, None when one has."""
    known = encoder_names() if kind == "encoder" else detector_names()
    if name in known:
        return None
    where = os.path.join(folder_paths.models_dir, folders.PACK_FOLDER, "models")
    single = os.path.join(folder_paths.models_dir, folders.ENCODER_FOLDER)
    return (
        f"{kind} is {quoted(name)}, but must be one of: {', '.join(known)}; choose one of these, or put an InsightFace "
        f"pack (a folder of .onnx files) into {where}{f' or a single file into {single}' if kind == 'encoder' else ''} "
        "and refresh the page."
    )


def encoder_fingerprint(names: Iterable[str]) -> str:
    """Changes when a file behind one of these names does, so that a replaced one is read again."""
    packs, files = folders.packs(), folders.encoder_files()
    paths: list[str | Path] = []
    for name in names:
        paths += packs.get(name, [])
        if name in files:
            paths += [path for path in (files[name], description_beside(Path(files[name]))) if os.path.isfile(path)]
    return ",".join(folders.file_fingerprint(path) for path in paths)


def load_module(encoder: str, detector: str) -> FaceEncoder:
    """The face encoder of these names; WeightsError or ValueError with one sentence when that can't be."""
    for name, kind in ((encoder, "encoder"), (detector, "detector")):
        reason = why_not_found(name, kind)
        if reason is not None:
            raise ValueError(reason)
    packs = folders.packs()
    pack = _read(encoder) if encoder in packs else None
    # a pack may come without a detector: the embedded one does for every descriptor
    own = pack if detector == AUTO and pack is not None and pack.first(roles.DETECTOR) is not None else None
    finder = _read(detector) if detector in packs else own
    if encoder == EMBEDDED:
        module = load_embedded(operations=OPERATIONS)
        if finder is not None:
            module.detector = _scrfd(finder)
        return module
    points68 = load_landmarks68(operations=OPERATIONS)
    detect = load_detector(points68, operations=OPERATIONS) if finder is None else _scrfd(finder)
    if pack is not None:
        found, path = load_pack_descriptor(pack, half_precision(), OPERATIONS)
    else:
        path = Path(folders.encoder_files()[encoder])
        found = _descriptor_in(path)
    space = space_of(digest_of(path), f"{found.kind}-{path.stem}")
    module = FaceEncoder(detect, found.module, space, found.dim, found.alignment, points68)
    return module.eval().requires_grad_(False)


def load_details_module(name: str) -> FaceDetails | None:
    """The landmark, pose, gender and age networks of a pack; None for what is no pack or has none of them."""
    if name not in folders.packs():
        return None
    pack = _read(name)
    models = [*pack.models.get(roles.LANDMARKS, []), *pack.models.get(roles.ATTRIBUTES, [])]
    return load_details(models, operations=OPERATIONS) if models else None


def _read(name: str) -> Pack:
    return read_pack(name, [Path(path) for path in folders.packs()[name]])


def _descriptor_in(path: Path) -> Descriptor:
    if path.suffix.lower() == ".onnx":
        return load_own(path, half_precision(), OPERATIONS)
    return load_descriptor(read_weights(path), dtype=half_precision(), operations=OPERATIONS)


def _scrfd(pack: Pack):
    return load_scrfd(pack.needed(roles.DETECTOR, "choose another detector"), operations=OPERATIONS)
