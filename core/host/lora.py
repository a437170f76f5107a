"""The LoRA inside an adapter's file, or beside it, as ComfyUI's own weight patches."""

import comfy.lora
import comfy.lora_convert

from ..adapters import LoRA

KEY = "likeness_lora"


def add_lora(model, lora: LoRA, sites, strength: float, owner: object):
    """Patch `model`, a clone of the caller's own, with a LoRA; `owner` has patched it before: nothing is done twice.

    `sites`: core.host.sites.Site in the order of the checkpoint. ValueError when a layer is not in the model.
    """
    owners = model.get_attachment(KEY) or ()
    if not lora or strength == 0 or owner in owners:
        return
    model.set_attachments(KEY, (*owners, owner))
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
    if len(set(taken)) < lora.layers:
        raise ValueError(
            f"The LoRA has {lora.layers} layers, but only {len(set(taken))} of them are in the connected model; choose "
            "a model and a LoRA that belong together."
        )


_PARTS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}


def _path(key):
    kind, number, index = key
    block = {"input": f"input_blocks.{number}.1", "output": f"output_blocks.{number}.1", "middle": "middle_block.1"}
    return f"{block[kind]}.transformer_blocks.{index}"
