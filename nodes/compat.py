"""One schema for every ComfyUI from 0.3.75 on: words that an older one doesn't know yet are left out there."""

import dataclasses
import functools
import inspect
from numbers import Real

from comfy_api.latest import io

from ..core.quoted import quoted

_KNOWN = {field.name for field in dataclasses.fields(io.Schema)}
# the second (0.19.0): what a node shows is sent again when it comes from the cache, though nothing ends there
_NEWER = {"search_aliases", "has_intermediate_output"}  # any other unknown word still raises: it is a typing mistake

CATEGORY = "Likeness"
_NUMBERS, _WIDGETS = ("INT", "FLOAT"), ("STRING", "BOOLEAN", "COMBO")
_PLAIN = (str, int, float, dict, list)  # what a prompt can say in place of a link
_HAIR = 1e-6  # what arithmetic in single precision does to numbers of about 1
_READ_BY_US = ("FACE_LANDMARKS", "BOUNDING_BOX")  # plain values, which their readers check


def schema(**fields) -> io.Schema:
    """An io.Schema in our category, without the fields that this ComfyUI doesn't know."""
    return io.Schema(category=CATEGORY, **{k: v for k, v in fields.items() if k in _KNOWN or k not in _NEWER})


def offered(node, **chosen):
    """What `validate_inputs` returns for choices from fixed lists: True, or a sentence for each wrong one; None comes
    over a wire.

    ComfyUI 0.3.75 lets any word pass on a V3 combo; newer ones leave the inputs that `validate_inputs` names to it.
    """
    options = {choice.id: choice.options for choice in node.define_schema().inputs if choice.id in chosen}
    wrong = [
        _not_offered(name, value, options[name])
        for name, value in chosen.items() if value is not None and value not in options[name]
    ]  # fmt: skip
    return " ".join(wrong) or True


def _not_offered(name, value, options):
    return f"{name} is {quoted(value)}, but must be one of: {', '.join(options)}; choose one of these."


def checked(execute):
    """Put around `execute`: a ValueError with one sentence for what ComfyUI lets pass.

    That is a plain value on an input that has no widget; and on one that has, whatever comes over a wire, and NaN,
    which no limit stops. For the choices `validate_inputs` is asked again.
    """

    @functools.wraps(execute)
    def refusing(cls, *args, **values):
        schema = cls.define_schema()
        for one in (one for one in schema.inputs if one.id in values):
            check = _number if one.io_type in _NUMBERS else _no_plain_value
            if schema.is_input_list:
                values[one.id] = [check(one, value) for value in values[one.id]]
            else:
                values[one.id] = check(one, values[one.id])
        asked = inspect.signature(cls.validate_inputs).parameters.keys() & values.keys()
        reason = cls.validate_inputs(**{name: values[name] for name in asked}) if asked else True
        if reason is not True:
            raise ValueError(reason)
        return execute(cls, *args, **values)

    return refusing


def _number(widget, value):
    """The value; what another node's arithmetic has put a hair beyond a limit is on the limit."""
    if isinstance(value, Real) and widget.min - _HAIR <= value <= widget.max + _HAIR:
        return min(max(value, widget.min), widget.max)
    limits = f"{widget.min} to {widget.max}"
    raise ValueError(f"{widget.id} is {quoted(value)}, but must be a number from {limits}; correct it.")


def _no_plain_value(socket, value):
    kind = socket.io_type
    if kind == "COMBO" and value is None:  # JSON's null, which `offered` takes for a wire
        raise ValueError(_not_offered(socket.id, value, socket.options))
    # No CLIP comes from a checkpoint without one, of which its readers tell.
    if kind in _WIDGETS or kind in _READ_BY_US or (kind == "CLIP" and value is None):
        return value
    is_form = {"LATENT": _is_latent, "CONDITIONING": _is_conditioning}.get(kind, lambda value: False)
    if isinstance(value, _PLAIN) and not is_form(value) or value is None and not socket.optional:
        raise ValueError(f"{socket.id} is {quoted(value)}, but must come from a node that gives {kind}; connect one.")
    return value


def _is_latent(value):
    return isinstance(value, dict) and "samples" in value


def _is_conditioning(value):
    return isinstance(value, list) and all(
        isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], dict) for entry in value
    )


def advanced(input_class, *args, **options):
    """An input that is folded away under "advanced" where ComfyUI knows that word."""
    if "advanced" in inspect.signature(input_class.__init__).parameters:
        options["advanced"] = True
    return input_class(*args, **options)
