"""`models`: which adapters, face encoders, parsers and directions lie in ComfyUI's folders, and what each file is.

The only command that needs torch. A file is what its contents say, as the nodes see it.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

from .problems import Usage

_ROOT = Path(__file__).resolve().parent.parent
_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".npy")
_ROUTER = "a UniPortrait router"


def comfyui_folder(given: Path | None) -> Path:
    """ComfyUI's folder: the given one, else the one whose custom_nodes this pack lies in; Usage if it has no models."""
    folder = given or _ROOT.parent.parent
    if not (folder / "models").is_dir():
        raise Usage(f"{folder} has no folder models; give ComfyUI's own with --comfyui.")
    return folder


def models(comfyui: Path) -> list[dict]:
    """{"file", "what", "about", "problem"} of every weight file, sorted; the latter two may be None.

    Folders of extra_model_paths.yaml are ComfyUI's to know and are left out.
    """
    try:
        places = _pack_module("core.places")
        describers = (
            *((folder, _adapter) for folder in places.ADAPTER_FOLDERS),
            (places.ENCODER_FOLDER, _encoder),
            (f"{places.PACK_FOLDER}/models", _encoder),
            (places.PARSER_FOLDER, _weights),
            (places.DIRECTION_FOLDER, _direction),
        )
        return [
            {"file": path.relative_to(comfyui).as_posix(), "what": None, "about": None, "problem": None, **told}
            for folder, describe in describers
            for path in _files(comfyui / "models" / folder)
            for told in [_told(describe, path)]
        ]
    except ImportError as error:
        raise Usage(f"models needs what ComfyUI runs on ({error}); use the Python that ComfyUI runs with.") from error


def _files(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())


def _told(describe, path):
    try:
        return describe(path)
    except _pack_module("core.weights").WeightsError as error:
        return {"problem": str(error)}


def _weights(path):
    weights = _pack_module("core.weights")
    return {"what": weights.kind_of(weights.read_weights(path).tensors)}


def _adapter(path):
    weights, adapters = _pack_module("core.weights"), _pack_module("core.adapters")
    file = weights.read_weights(path)
    kind = weights.kind_of(file.tensors)
    if kind == _ROUTER:
        return {"what": kind, "about": "goes into LoadIDAdapter's router"}
    try:
        spec = adapters.describe_adapter(file)
    except weights.WeightsError as error:
        return {"what": kind, "problem": str(error)}
    return {"what": f"{spec.title} adapter", "about": spec.about(path.name)}


def _encoder(path):
    if path.suffix.lower() != ".onnx":
        return _weights(path)
    model = _pack_module("core.weights.onnx_file").read_onnx(path)
    return {"what": f"an ONNX graph, {_pack_module('core.faces.onnx.onnx_roles').role_of(model)}"}


def _direction(path):
    rows = len(_pack_module("core.faces.identity.directions").read_direction(path))
    return {"what": f"a direction for W+ codes, {'one for all layers' if rows == 1 else f'{rows} layers'}"}


def _pack_module(name):
    """A module of the pack, whose root is no package of this one when it runs as `python -m cli`."""
    if "likeness" not in sys.modules:
        root = importlib.util.spec_from_file_location(
            "likeness", _ROOT / "__init__.py", submodule_search_locations=[str(_ROOT)]
        )
        sys.modules["likeness"] = importlib.util.module_from_spec(root)
        root.loader.exec_module(sys.modules["likeness"])
    return importlib.import_module(f"likeness.{name}")
