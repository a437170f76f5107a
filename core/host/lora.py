"""The LoRA inside an adapter's file, or beside it, as ComfyUI's own weight patches."""

import uuid
from dataclasses import dataclass

import comfy.lora
import comfy.lora_convert

from ..adapters import LoRA

KEY = "likeness_lora"


@dataclass(frozen=True)
class _Applied:
    owner: object
    patches: frozenset[int]  # the id of each, which clones of a model share
    alone: bool


def add_lora(model, lora: LoRA, sites, strength: float, owner: object, alone: bool = False):
    """Patch `model`, a clone of the caller's own, with a LoRA; `owner` has patched it before: nothing is done twice.

    `sites`: core.host.sites.Site in the order of the checkpoint. `alone`: `remove_lone_lora` may take it off again.
    ValueError when a layer is not in the model.
    """
    applied = model.get_attachment(KEY) or ()
    if not lora or strength == 0 or owner in [one.owner for one in applied]:
        return
    prefix = "diffusion_model"
    targets, tensors = {}, {}
    for (index, attention, part), (down, up) in lora.by_site.items():
        name = f"{index}.{attention}.{part}"
        targets[name] = f"{prefix}.{_path(sites[index].key)}.{attention}.{_PARTS[part]}.weight"
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
    if lora.by_name:
        targets |= comfy.lora.model_lora_keys_unet(model.model, {})
        tensors |= comfy.lora_convert.convert_lora(dict(lora.by_name))
    patches = comfy.lora.load_lora(tensors, targets, log_missing=False)
    taken = model.add_patches(patches, strength)
    kept = frozenset(id(patch) for patch in patches.values())
    model.set_attachments(KEY, (*applied, _Applied(owner, kept, alone)))
    layers = len(tensors) // 2
    if len(set(taken)) < layers:
        raise ValueError(
            f"The LoRA has {layers} layers, but only {len(set(taken))} of them are in the connected model; choose a "
            "model and a LoRA that belong together."
        )


def remove_lone_lora(model):
    """Take the LoRAs off `model`, a clone of the caller's own, that were added for a person who is alone."""
    applied = model.get_attachment(KEY) or ()
    gone = frozenset().union(*(one.patches for one in applied if one.alone))
    if not gone:
        return
    left = {key: [entry for entry in entries if id(entry[1]) not in gone] for key, entries in model.patches.items()}
    model.patches = {key: entries for key, entries in left.items() if entries}
    model.patches_uuid = uuid.uuid4()  # what is loaded with other patches has to be loaded anew
    model.set_attachments(KEY, tuple(one for one in applied if not one.alone))


_PARTS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}


def _path(key):
    kind, number, index = key
    block = {"input": f"input_blocks.{number}.1", "output": f"output_blocks.{number}.1", "middle": "middle_block.1"}
    return f"{block[kind]}.transformer_blocks.{index}"
