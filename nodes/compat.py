"""One schema for every ComfyUI from 0.3.75 on: words that an older one doesn't know yet are left out there."""

import dataclasses
import inspect

from comfy_api.latest import io

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}
_NEWER = {"search_aliases"}  # any other unknown word still raises: it is a typing mistake

CATEGORY = "Likeness"


def schema(**fields) -> io.Schema:
    """An io.Schema in our category, without the fields that this ComfyUI doesn't know."""
    return io.Schema(category=CATEGORY, **{k: v for k, v in fields.items() if k in _KNOWN or k not in _NEWER})


def offered(node, **chosen):
    """What `validate_inputs` returns for choices from fixed lists: True, or one sentence; None comes over a wire.

    ComfyUI 0.3.75 lets any word pass on a V3 combo; newer ones leave the inputs that `validate_inputs` names to it.
    """
    options = {choice.id: choice.options for choice in node.define_schema().inputs if choice.id in chosen}
    for name, value in chosen.items():
        if value is not None and value not in options[name]:
            return f"{name} is {value!r}, but must be one of: {', '.join(options[name])}; choose one of these."
    return True


def advanced(input_class, *args, **options):
    """An input that is folded away under "advanced" where ComfyUI knows that word."""
    if "advanced" in inspect.signature(input_class.__init__).parameters:
        options["advanced"] = True
    return input_class(*args, **options)
