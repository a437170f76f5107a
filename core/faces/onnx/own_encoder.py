"""An `.onnx` descriptor of the artist's own, with a small JSON file beside it that says how it wants to be fed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...quoted import quoted
from ...weights import WeightsError
from ...weights.onnx_file import read_onnx
from ..align.templates import arcface_template_of
from ..align.windows import face_window, person_window
from ..describe.descriptors import Descriptor
from .onnx_embedder import Preprocessing, load_embedder

_SIDES = range(16, 1025)  # pixels of an input that a descriptor may have
_KEYS = ("input_size", "mean", "std", "color_order", "template", "half_precision")
_WINDOWS = {"box": face_window, "person": person_window}
ALIGNMENTS = ("arcface", *_WINDOWS)
_LIMIT = 65536  # bytes of a description


@dataclass(frozen=True)
class Description:
    """What the JSON file says; None where it says nothing.

    input_size: (height, width). template: one of ALIGNMENTS, or five (x, y) points in pixels of the input, in the order
    of Faces.landmarks. half_precision: whether the vectors stay good enough in it.
    """

    input_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    template: str | tuple[tuple[float, float], ...] = "arcface"
    half_precision: bool = False


def description_beside(path: Path) -> Path:
    """Where the description of an `.onnx` file lies: the same name with `.json`."""
    return path.with_suffix(".json")


def read_description(path: Path) -> Description:
    """The description in a JSON file; WeightsError with one sentence for what is no such thing."""
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
        known = json.loads(content) if len(content) <= _LIMIT else None
    except OSError as error:
        raise WeightsError(f"{path.name} can't be opened ({error.strerror}); check that it is readable.") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path.name} is not JSON ({error}); correct it.") from error
    if not isinstance(known, dict):
        raise _wrong(path, "the whole file", "an object with keys such as input_size, mean and std")
    odd = sorted(set(known) - set(_KEYS))
    if odd:
        raise _wrong(path, f"the key {quoted(odd[0])}", f"one of {', '.join(_KEYS)}")
    return Description(
        _size(path, known), _preprocessing(path, known), _template(path, known),
        _checked(path, known, "half_precision", False, lambda value: isinstance(value, bool), "true or false"),
    )  # fmt: skip


def _wrong(path, what, expected):
    return WeightsError(f"{path.name} describes an encoder wrongly: {what} must be {expected}; correct it.")


def _checked(path, known: Mapping, key, default, is_right, expected):
    value = known.get(key, default)
    if value is not default and not is_right(value):
        raise _wrong(path, key, expected)
    return value


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _are_numbers(value, count) -> bool:
    return isinstance(value, list) and len(value) == count and all(_is_number(number) for number in value)


def _size(path, known):
    def right(value):
        sides = value if isinstance(value, list) else [value]
        return len(sides) in (1, 2) and all(isinstance(side, int) and side in _SIDES for side in sides)

    expected = f"a side or [height, width] in pixels, {_SIDES[0]} to {_SIDES[-1]}"
    value = _checked(path, known, "input_size", None, right, expected)
    return value if value is None else (value[0], value[-1]) if isinstance(value, list) else (value, value)


def _preprocessing(path, known):
    if not {"mean", "std", "color_order"} & set(known):
        return None

    def numbers(key, default, is_right):
        expected = "a number or three, in units of 0 to 255" + (", over 0" if key == "std" else "")
        value = _checked(path, known, key, default, lambda value: is_right(value) and _positive(key, value), expected)
        return tuple(map(float, value)) if isinstance(value, list) else (float(value),)

    def right(value):
        return _is_number(value) or _are_numbers(value, 3)

    order = _checked(path, known, "color_order", "RGB", lambda value: value in ("RGB", "BGR"), "RGB or BGR")
    return Preprocessing(numbers("mean", 127.5, right), numbers("std", 127.5, right), order == "BGR")


def _positive(key, value):
    return key != "std" or all(number > 0 for number in (value if isinstance(value, list) else [value]))


def _template(path, known):
    def right(value):
        return value in ALIGNMENTS or (
            isinstance(value, list) and len(value) == 5 and all(_are_numbers(point, 2) for point in value)
        )

    expected = f"{', '.join(ALIGNMENTS)}, or five [x, y] points in pixels of the input"
    value = _checked(path, known, "template", "arcface", right, expected)
    return value if isinstance(value, str) else tuple(tuple(map(float, point)) for point in value)


def load_own(path: Path, half_precision=None, operations=nn) -> Descriptor:
    """The descriptor in an `.onnx` file as its description says; without one, it is fed as ArcFace is.

    `half_precision` is the dtype for descriptors that say they bear it. Raises WeightsError with one sentence for a
    file or a description that can't be used.
    """
    beside = description_beside(path)
    described = read_description(beside) if beside.is_file() else Description()
    dtype = half_precision if described.half_precision else None
    embedder = load_embedder(read_onnx(path), described.preprocessing, described.input_size, dtype=dtype,
                             operations=operations)  # fmt: skip
    if described.input_size not in (None, embedder.size):
        height, width = embedder.size
        raise _wrong(beside, "input_size", f"[{height}, {width}], which {path.name} itself says")
    template = described.template
    if template == "arcface":
        advice = f'write "template" into {beside.name}: box, person, or five points'
        template = arcface_template_of(path.name, embedder.size, advice)
    elif template in _WINDOWS:
        template = _WINDOWS[template](embedder.size)
    averaged = described.template != "arcface"
    return Descriptor(embedder, "onnx", embedder.dim, embedder.size[0], template, averaged)
