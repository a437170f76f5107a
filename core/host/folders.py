"""Model folders: the ones artists already have, known to ComfyUI so that extra_model_paths.yaml works with them too."""

import os

import folder_paths

ADAPTER_FOLDERS = ("instantid", "ipadapter", "pulid", "photomaker", "likeness")
_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}


def register():
    """Make every adapter folder known to ComfyUI; one that another pack registered keeps its paths and gains ours."""
    for name in ADAPTER_FOLDERS:
        # A key that another pack registered without extensions means "every file" and must stay so.
        known = name in folder_paths.folder_names_and_paths and not folder_paths.folder_names_and_paths[name][1]
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.models_dir, name))
        if not known:
            folder_paths.folder_names_and_paths[name][1].update(_WEIGHT_FILES)


def adapter_files() -> list[str]:
    """Every weight file in the adapter folders as `folder/file`, sorted; the form that LoadIDAdapter's combo shows."""
    files = []
    for folder in ADAPTER_FOLDERS:
        for file in folder_paths.get_filename_list(folder):
            if os.path.splitext(file)[1].lower() in _WEIGHT_FILES:
                files.append(f"{folder}/{file.replace(os.sep, '/')}")
    return sorted(files)


def why_not_found(name: str) -> str | None:
    """One sentence when no listed file has this name, None when one has."""
    if name in adapter_files():
        return None
    found = ", ".join(adapter_files()) or "no adapter file at all"
    where = os.path.join(folder_paths.models_dir, ADAPTER_FOLDERS[0])
    return (
        f"The adapter {name!r} was not found; put its file into {where} and refresh the page. "
        f"Found in the adapter folders: {found}."
    )


def adapter_path(name: str) -> str:
    """The path of a combo value. Only names that are listed are opened, so no value leads out of the folders."""
    reason = why_not_found(name)
    if reason is not None:
        raise ValueError(reason)
    folder, _, file = name.partition("/")
    path = folder_paths.get_full_path(folder, file)
    if path is None:
        raise ValueError(f"The adapter {name!r} is listed but not there, a broken link perhaps; put its file back.")
    return path


def fingerprint(name: str) -> str:
    """Changes when the file does, so that a replaced file is read again."""
    stat = os.stat(adapter_path(name))
    return f"{stat.st_mtime_ns}-{stat.st_size}"
