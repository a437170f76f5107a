"""Plain values that a file, a script or another node hands over: what they are, and a sentence where they are not."""

import sys
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from .quoted import quoted


def is_number(value: Any, most: float = sys.float_info.max) -> bool:
    """Whether a value is a finite number, at most `most` away from zero; true and false are none."""
    value = value.item() if isinstance(value, np.generic) else value
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= most  # type: ignore[operator]  # typeshed: a Real has no order


def is_list(value: Any, count: int | None = None) -> bool:
    """Whether a value is a list, of `count` things where that is given; text is none."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and count in (None, len(value))


def finite_number(value: Any, name: str, most: float) -> float:
    """A finite number, at most `most` away from zero. ValueError with one sentence that begins with `name`."""
    if not is_number(value, most):
        raise ValueError(
            f"{name} is {kind_in_words(value)}; expected a finite number, at most {most:,.0f} away from zero."
        )
    return float(value)


def points(value: Any, count: int, name: str, most: float) -> tuple[tuple[float, float], ...]:
    """`count` points (x, y) of such numbers. ValueError with one sentence that begins with `name`."""
    if not is_list(value, count):
        raise ValueError(f"{name} is {kind_in_words(value)}; expected a list of {count} points [x, y].")
    return tuple(_point(point, f"{name}, point {place}", most) for place, point in enumerate(value, 1))


def _point(value, name: str, most: float) -> tuple[float, float]:
    if not is_list(value, 2):
        raise ValueError(f"{name} is {kind_in_words(value)}; expected [x, y].")
    return finite_number(value[0], f"{name}, x", most), finite_number(value[1], f"{name}, y", most)


def kind_in_words(value: Any) -> str:
    """What a value is, in words that stay short whatever it holds."""
    if isinstance(value, Mapping):
        return f"an object with the keys {quoted(sorted(map(str, value)))}" if value else "an empty object"
    if is_list(value):
        return f"a list of {len(value)}"
    return f"an array of shape {list(value.shape)}" if hasattr(value, "shape") and value.shape else quoted(value)
