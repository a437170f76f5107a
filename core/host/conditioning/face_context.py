"""A prompt with a face in it that knows what it would be without: whatever a node does to the one is done to the other.

Nodes such as ConditioningConcat, Average and ZeroOut compute with the tensor of a conditioning and know nothing of what
lies beside it. So the twin, which rows without identity read, is carried by the tensor itself.
"""

import logging

import torch

_F = torch.nn.functional
# A model computes with a prompt, it does not change it.
_OF_MODELS = {_F.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, _F.scaled_dot_product_attention}
_CAT = {torch.cat, torch.concat, torch.concatenate}
# What takes nothing but the shape has one result, be it of chance.
_OF_SHAPES = {
    torch.zeros_like, torch.ones_like, torch.full_like, torch.empty_like, torch.rand_like, torch.randn_like,
}  # fmt: skip


class FaceContext(torch.Tensor):
    """A context [1,T,D] with a face in it; `plain` [1,T',D] is the same without, None where that can't be known.

    An ordinary tensor again where ComfyUI puts the rows of a batch together (`torch.cat` along them) and in a model.
    """

    plain: torch.Tensor | None

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*_each(args, _faced), **_each(kwargs, _faced))
        if func in _OF_MODELS or (func in _CAT and _along_rows(*args, **kwargs)) or not _changes(out):
            return out
        if func in _OF_SHAPES:
            return faced(out, out.clone())
        if _wrote_elsewhere(func, args, out):
            _say_lost()
            return out
        try:
            plain = func(*_each(args, _plain), **_each(kwargs, _plain))
        except (RuntimeError, _Lost):
            plain = None
        return _paired(out, plain)


class _Lost(Exception):
    """One of the tensors has a face in it of which nobody knows what it would be without."""


def faced(context: torch.Tensor, plain: torch.Tensor | None) -> FaceContext:
    """The context of a prompt with a face in it, and of the same prompt without."""
    made = _faced(context).as_subclass(FaceContext)
    made.plain = plain
    return made


def without_face(context: torch.Tensor, as_encoded: torch.Tensor | None) -> torch.Tensor:
    """A context without the face in it, which may be the very one; where it can't be known, as it was encoded.

    `as_encoded`: the prompt before the face went in, None for a prompt that was encoded without one.
    """
    if isinstance(context, FaceContext):
        if context.plain is not None:
            return context.plain
        context = _faced(context)
    elif as_encoded is None:
        return context
    _say_lost()
    return context if as_encoded is None else as_encoded


def _say_lost():
    logging.warning(
        "Likeness: a node behind ID Text Encode changes the prompt in a way that can't be repeated without the face, "
        "so AttributeCure and mixed attention compare with a prompt that is not the same; join prompts with "
        "ConditioningCombine, Concat or Average."
    )


def _along_rows(tensors, dim=0, axis=None, **_):
    return (dim if axis is None else axis) in (0, -tensors[0].ndim)


def _changes(out):
    several = out if isinstance(out, list | tuple) else [out]
    return out is None or any(isinstance(one, torch.Tensor) for one in several)


def _wrote_elsewhere(func, args, out):
    """Whether the face went into an ordinary tensor that was there before."""
    into = args[0] if args else None
    in_place = out is None or (out is into and func.__name__.endswith("_"))
    return in_place and isinstance(into, torch.Tensor) and not isinstance(into, FaceContext)


def _each(values, change):
    """The same structure of arguments with every tensor changed."""
    if isinstance(values, dict):
        return {key: _each(value, change) for key, value in values.items()}
    if type(values) in (list, tuple):
        return type(values)(_each(value, change) for value in values)
    return change(values) if isinstance(values, FaceContext) else values


def _faced(context):
    """The tensor itself, as an ordinary one."""
    with torch._C.DisableTorchFunctionSubclass():
        return context.as_subclass(torch.Tensor)


def _plain(context):
    if context.plain is None:
        raise _Lost
    return context.plain


def _paired(out, plain):
    if isinstance(out, list | tuple):
        return tuple(map(_paired, out, [None] * len(out) if plain is None else plain))
    return faced(out, plain) if isinstance(out, torch.Tensor) else out
