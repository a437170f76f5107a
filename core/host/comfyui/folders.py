"""Model folders: the ones artists already have, known to ComfyUI so that extra_model_paths.yaml works with them too."""

import hashlib
import os

import folder_paths

from ...places import ADAPTER_FOLDERS, DIRECTION_FOLDER, ENCODER_FOLDER, PACK_FOLDER, PARSER_FOLDER
from ...quoted import quoted

VISION_FOLDERS = ("clip_vision", "text_encoders", "pulid")
# bytes; EVA-CLIP's and SigLIP's published files, text half and all, are smaller in any precision
_VISION_LIMIT = 4 * 2**30
_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}
_GRAPH, _ARRAY = ".onnx", ".npy"


def register() -> None:
    """Make every folder known to ComfyUI; one that another pack registered keeps its paths and gains ours."""
    for name in (*ADAPTER_FOLDERS, PARSER_FOLDER, ENCODER_FOLDER, PACK_FOLDER, DIRECTION_FOLDER):
        # A key that another pack registered without extensions means "every file" and must stay so.
        known = name in folder_paths.folder_names_and_paths and not folder_paths.folder_names_and_paths[name][1]
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        if not known:
            more = {ENCODER_FOLDER: {_GRAPH}, PACK_FOLDER: {_GRAPH}, DIRECTION_FOLDER: {_ARRAY}}.get(name, set())
            folder_paths.folder_names_and_paths[name][1].update(_WEIGHT_FILES | more)


def adapter_files() -> list[str]:
    """Every weight file in the adapter folders as `folder/file`, sorted; the form that LoadIDAdapter's combo shows."""
    files = [f"{folder}/{file}" for folder in ADAPTER_FOLDERS for file in _weight_files(folder)]
    return sorted(file.replace(os.sep, "/") for file in files)


def parser_paths() -> list[str]:
    """The paths of every weight file in the face parsers' folder, sorted by name; broken links are left out."""
    paths = [folder_paths.get_full_path(PARSER_FOLDER, file) for file in sorted(_weight_files(PARSER_FOLDER))]
    return [path for path in paths if path is not None]


def vision_paths(words: tuple[str, ...] = ()) -> list[str]:
    """The paths of weight files that may be a vision model, first those with one of `words` in their names or their
    folders'; no broken links, nothing large.

    Packs put them into different folders, and Hugging Face calls each `model.safetensors`.
    """
    called_so: list[str] = []
    found: list[str] = []
    for folder in VISION_FOLDERS:
        for file in sorted(_weight_files(folder)):
            path = folder_paths.get_full_path(folder, file)
            if path is not None and os.path.getsize(path) <= _VISION_LIMIT:
                (called_so if any(word in file.lower() for word in words) else found).append(path)
    return called_so + found


def encoder_files() -> dict[str, str]:
    """`face_encoders/file` -> path of every weight file in the face encoders' folder, sorted; no broken links."""
    return {f"{ENCODER_FOLDER}/{file}": path for file, path in _paths(ENCODER_FOLDER, _GRAPH).items()}


def direction_files() -> dict[str, str]:
    """`file` -> path of every direction of StyleGAN's space, sorted; no broken links."""
    return _paths(DIRECTION_FOLDER, _ARRAY)


def _paths(folder, ending):
    files = sorted(_weight_files(folder, _WEIGHT_FILES | {ending}))
    paths = {file.replace(os.sep, "/"): folder_paths.get_full_path(folder, file) for file in files}
    return {file: path for file, path in paths.items() if path is not None}


def packs() -> dict[str, list[str]]:
    """`insightface/pack` -> paths of its `.onnx` files, for every folder in models/insightface/models that has some.

    InsightFace's own archives unpack into a folder of the pack's name inside of one, so one level deeper counts too.
    """
    found: dict[str, list[str]] = {}
    for root in folder_paths.get_folder_paths(PACK_FOLDER):
        models = os.path.join(root, "models")
        for pack in sorted(_folders(models)):
            files = _graphs(os.path.join(models, pack))
            if files:
                found.setdefault(f"{PACK_FOLDER}/{pack}", files)
    return found


def _folders(path):
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir()]
    except OSError:  # not there, or not readable: nothing to offer
        return []


def _graphs(folder):
    """The `.onnx` files of a folder, or of the first folder inside of it that has some."""
    deeper = [os.path.join(folder, name) for name in sorted(_folders(folder))]
    return next((files for path in (folder, *deeper) if (files := _graph_files(path))), [])


def _graph_files(folder):
    try:
        return sorted(entry.path for entry in os.scandir(folder)
                      if entry.is_file() and entry.name.lower().endswith(_GRAPH))  # fmt: skip
    except OSError:
        return []


def _weight_files(folder, endings=_WEIGHT_FILES):
    try:
        files = folder_paths.get_filename_list(folder)
    except FileNotFoundError:  # ComfyUI remembers a folder that has been taken away since
        return []
    return [file for file in files if os.path.splitext(file)[1].lower() in endings]


def why_not_found(name: str) -> str | None:
    """One sentence when no listed file has this name, None when one has."""
    if name in adapter_files():
        return None
    found = ", ".join(adapter_files()) or "no adapter file at all"
    where = os.path.join(folder_paths.models_dir, ADAPTER_FOLDERS[0])
    return (
        f"The adapter {quoted(name)} was not found; put its file into {where} and refresh the page. "
        f"Found in the adapter folders: {found}."
    )


def adapter_path(name: str) -> str:
    """The path of a combo value. Only names that are listed are opened, so no value leads out of the folders."""
    reason = why_not_found(name)
    if reason is not None:
        raise ValueError(reason)
    folder = next(folder for folder in ADAPTER_FOLDERS if name.startswith(f"{folder}/"))
    path = folder_paths.get_full_path(folder, name.removeprefix(f"{folder}/"))
    if path is None:
        raise ValueError(f"The adapter {name!r} is listed but not there, a broken link perhaps; put its file back.")
    return path


def files_fingerprint(paths: list[str]) -> str:
    """Changes when one of these files does, comes or goes. It ends up in pictures' metadata, so it tells no paths."""
    found = [(path, file_fingerprint(path)) for path in paths]
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16]


def file_fingerprint(path: str | os.PathLike) -> str:
    """Changes when the file at a path does, so that a replaced file is read again."""
    stat = os.stat(path)
    # the time of the last change too: copies keep the other two, and nobody can set it back
    return f"{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_size}"
