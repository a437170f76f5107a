"""Filling a module from a file's tensors, and one sentence for the artist when they don't fit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from ..quoted import quoted
from .reader import WeightsError

_Module = TypeVar("_Module", bound=nn.Module)


@contextmanager
def fitting(name: str) -> Iterator[None]:
    """Around building a module by a file's tensors and filling it: a tensor that is missing or odd is a WeightsError.

    `name` is the file's.
    """
    try:
        yield
    except WeightsError:
        raise
    except KeyError as error:
        raise WeightsError(f"{name} is incomplete: it lacks {quoted(str(error.args[0]))}; fetch it again.") from error
    # what shapes end in that no such file has: too few dimensions, widths of zero, layers that don't join
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{name} is damaged: its tensors don't fit together; fetch it again.") from error


def fill(
    module: nn.Module, tensors: Mapping[str, torch.Tensor], name: str, kind: str, advice: str = "fetch it again"
) -> None:
    """Copy tensors into a module, for use inside `fitting`; WeightsError unless they are exactly the module's own.

    `kind` says in words, with their article, what the file looks like.
    """
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    if missing or unexpected:
        first = (missing or unexpected)[0]
        what = f"lacks {len(missing)} of its tensors" if missing else f"has tensors too many, {len(unexpected)} of them"
        raise WeightsError(f"{name} looks like {kind} but {what} (the first: {quoted(first)}); {advice}.")


def finite(module: _Module, name: str) -> _Module:
    """The module, unless one of its numbers is infinite or none, which only damage makes: then a WeightsError."""
    for key, value in module.state_dict().items():
        # host read: while loading
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{name} is damaged: {quoted(key)} has weights that are no numbers; fetch it again.")
    return module
