"""The LoRA inside an adapter's file, or beside it, as ComfyUI's own weight patches."""

import uuid
from dataclasses import dataclass

import comfy.lora
import comfy.lora_convert
import folder_paths
from comfy.model_patcher import ModelPatcher

from ...adapters import LoRA
from ...quoted import quoted
from ...weights import WeightsError, kind_of, read_weights
from .. import keys
from ..comfyui import folders
from ..foundation import ModelKind

IN_THE_FILE = "in the adapter's file"
_FOLDER = "loras"
_HALF = (".lora_down.weight", ".lora.down.weight", ".lora_A.weight", "_lora.down.weight", ".lora_A.default.weight")


def lora_names() -> list[str]:
    """What LoadIDAdapter offers: the LoRA inside of the adapter's file, then every file in ComfyUI's loras folder."""
    return [IN_THE_FILE, *folder_paths.get_filename_list(_FOLDER)]


def why_no_lora(name: str) -> str | None:
    """One sentence when no listed LoRA has this name, None when one has."""
    if name in lora_names():
        return None
    return f"The LoRA {quoted(name)} was not found in ComfyUI's loras folder; put its file there and refresh the page."


def lora_path(name: str) -> str:
    """The path of a listed LoRA; ValueError for another name."""
    reason = why_no_lora(name)
    path = None if reason else folder_paths.get_full_path(_FOLDER, name)
    if path is None:
        raise ValueError(reason or f"The LoRA {name!r} is listed but not there, a broken link perhaps; put it back.")
    return path


def lora_file(name: str) -> LoRA:
    """The LoRA in a file of ComfyUI's loras folder; WeightsError when it is something else."""
    file = read_weights(lora_path(name))
    if not any(key.endswith(_HALF) for key in file.tensors):
        raise WeightsError(f"{file.name} is {kind_of(file.tensors)}, not a LoRA; choose another file for lora.")
    return LoRA(by_name={key: tensor.clone() for key, tensor in file.tensors.items()})


def lora_fingerprint(name: str) -> str:
    """Changes when the LoRA's file does."""
    return name if name == IN_THE_FILE else folders.file_fingerprint(lora_path(name))


@dataclass(frozen=True)
class _Applied:
    owner: object
    patches: tuple  # the very objects, which clones of a model share
    alone: bool


def add_lora(model: ModelPatcher, lora: LoRA, under: ModelKind, strength: float, owner: object, alone: bool = False):
    """Patch `model`, a clone of the caller's own, with a LoRA; `owner` has patched it before: nothing is done twice.

    `alone`: `remove_lone_lora` may take it off again.
    ValueError when a layer is not in the model.
    """
    applied = model.get_attachment(keys.LORA) or ()
    if not lora or strength == 0 or owner in [one.owner for one in applied]:
        return
    targets, tensors = {}, {}
    for (index, attention, part), (down, up) in lora.by_site.items():
        name = f"{index}.{attention}.{part}"
        targets[name] = under.weight_name(index, attention, part)
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
    if lora.by_name:
        targets |= comfy.lora.model_lora_keys_unet(model.model, {})
        tensors |= comfy.lora_convert.convert_lora(dict(lora.by_name))
    patches = comfy.lora.load_lora(tensors, targets, log_missing=False)
    taken = model.add_patches(patches, strength)
    model.set_attachments(keys.LORA, (*applied, _Applied(owner, tuple(patches.values()), alone)))
    layers = sum(key.endswith(_HALF) for key in tensors)
    if len(set(taken)) < layers:
        raise ValueError(
            f"The LoRA has {layers} layers, but only {len(set(taken))} of them are in the connected model; choose a "
            "model and a LoRA that belong together."
        )


def remove_lone_lora(model: ModelPatcher):
    """Take the LoRAs off `model`, a clone of the caller's own, that were added for a person who is alone."""
    applied = model.get_attachment(keys.LORA) or ()
    gone = {id(patch) for one in applied if one.alone for patch in one.patches}
    if not gone:
        return
    left = {key: [entry for entry in entries if id(entry[1]) not in gone] for key, entries in model.patches.items()}
    model.patches = {key: entries for key, entries in left.items() if entries}
    model.patches_uuid = uuid.uuid4()  # what is loaded with other patches has to be loaded anew
    model.set_attachments(keys.LORA, tuple(one for one in applied if not one.alone))
