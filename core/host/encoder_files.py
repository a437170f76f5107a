"""Which face encoders and detectors there are, and loading one: the embedded ones, InsightFace packs, single files."""

import os
from collections.abc import Iterable
from pathlib import Path

import folder_paths

from ..faces import onnx_roles as roles
from ..faces.descriptors import load_descriptor
from ..faces.details import FaceDetails, load_details
from ..faces.encoder import FaceEncoder, load_embedded
from ..faces.onnx_embedder import load_embedder
from ..faces.own_encoder import description_beside, load_own
from ..faces.packs import Pack, read_pack
from ..faces.scrfd import load_scrfd
from ..faces.spaces import space_of
from ..faces.templates import arcface_template
from ..faces.windows import face_window, person_window
from ..weights import WeightsError, read_weights
from ..weights.fingerprint import fingerprint_of
from . import folders
from .managed import OPERATIONS, half_precision

EMBEDDED, AUTO, MTCNN = "embedded", "auto", "mtcnn"
_TEMPLATES = {"arcface": lambda size: arcface_template(size[0]), "box": face_window, "person": person_window}


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
        f"{kind} is {name!r}, but must be one of: {', '.join(known)}; choose one of these, or put an InsightFace pack "
        f"(a folder of .onnx files) into {where}{f' or a single file into {single}' if kind == 'encoder' else ''} and "
        "refresh the page."
    )


def fingerprint(names: Iterable[str]) -> str:
    """Changes when a file behind one of these names does, so that a replaced one is read again."""
    packs, files = folders.packs(), folders.encoder_files()
    paths = []
    for name in names:
        paths += packs.get(name, [])
        if name in files:
            paths += [path for path in (files[name], description_beside(Path(files[name]))) if os.path.isfile(path)]
    return ",".join(folders.fingerprint(path) for path in paths)


def load_module(encoder: str, detector: str) -> FaceEncoder:
    """The face encoder of these names; WeightsError or ValueError with one sentence when that can't be."""
    for name, kind in ((encoder, "encoder"), (detector, "detector")):
        reason = why_not_found(name, kind)
        if reason is not None:
            raise ValueError(reason)
    packs = folders.packs()
    if detector == AUTO and encoder in packs:
        pack = _read(encoder)
        module = _from_pack(pack)
        # a pack may come without a detector: MTCNN does for every descriptor that is aligned by landmarks
        if pack.first(roles.DETECTOR) is not None:
            module.detector = _scrfd(pack)
        return _ready(module)
    if encoder == EMBEDDED:
        module = load_embedded(operations=OPERATIONS)
    else:
        module = _from_pack(_read(encoder)) if encoder in packs else _from_file(Path(folders.encoder_files()[encoder]))
    if detector in packs:
        module.detector = _scrfd(_read(detector))
    return _ready(module)


def load_details_module(name: str) -> FaceDetails | None:
    """The landmark, pose, gender and age networks of a pack; None for what is no pack or has none of them."""
    if name not in folders.packs():
        return None
    pack = _read(name)
    models = [*pack.models.get(roles.LANDMARKS, []), *pack.models.get(roles.ATTRIBUTES, [])]
    return load_details(models, operations=OPERATIONS) if models else None


def _read(name: str) -> Pack:
    return read_pack(name, [Path(path) for path in folders.packs()[name]])


def _from_pack(pack: Pack) -> FaceEncoder:
    model = pack.needed(roles.EMBEDDER, "add the pack's recogniser, such as w600k_r50.onnx or glintr100.onnx")
    path = pack.paths[model.name]
    embedder = load_embedder(model, path, dtype=half_precision(), operations=OPERATIONS)
    height, width = embedder.size
    if height != width or (height % 112 and height % 128):
        raise WeightsError(
            f"{model.name} takes pictures of {width} x {height} pixels, which InsightFace's alignment does not know; "
            f"put it into models/{folders.ENCODER_FOLDER} with a description."
        )
    name = f"{pack.name.rpartition('/')[2]}-{path.stem}"
    space = space_of(fingerprint_of(path), name)
    own = load_embedded(operations=OPERATIONS)
    return FaceEncoder(
        own.detector, embedder, space, embedder.dim, arcface_template(height), height, own.points68, antialias=False
    )  # fmt: skip


def _from_file(path: Path) -> FaceEncoder:
    own = load_embedded(operations=OPERATIONS)
    if path.suffix.lower() == ".onnx":
        embedder, described = load_own(path, half_precision(), OPERATIONS)
        template = (
            _TEMPLATES[described.template](embedder.size)
            if isinstance(described.template, str)
            else (described.template)
        )
        space = space_of(fingerprint_of(path), path.stem)
        # ArcFace's kin were trained on chips without averaging, as InsightFace makes them
        return FaceEncoder(own.detector, embedder, space, embedder.dim, template, embedder.size[0], own.points68,
                           antialias=described.template != "arcface")  # fmt: skip
    found = load_descriptor(read_weights(path), dtype=half_precision(), operations=OPERATIONS)
    space = space_of(fingerprint_of(path), f"{found.kind}-{path.stem}")
    return FaceEncoder(own.detector, found.module, space, found.dim, found.template, found.chip_size, own.points68,
                       antialias=False)  # fmt: skip


def _scrfd(pack: Pack):
    return load_scrfd(pack.needed(roles.DETECTOR, "choose another detector"), operations=OPERATIONS)


def _ready(module: FaceEncoder) -> FaceEncoder:
    return module.eval().requires_grad_(False)
