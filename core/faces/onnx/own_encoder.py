"""An `.onnx` descriptor of the artist's own, with a small JSON file beside it that says how it wants to be fed."""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ...layer_types import Dtype, Operations
from ...plain import is_list, is_number, points
from ...quoted import quoted
from ...weights import WeightsError
from ...weights.onnx_file import read_onnx
from ..align.alignment import Alignment, FivePoints
from ..align.templates import Points
from ..align.windows import face_window, person_window
from ..describe.descriptors import Descriptor
from .onnx_embedder import Preprocessing, arcface_alignment, load_embedder

_SIDES = range(16, 1025)  # pixels of an input that a descriptor may have
_MOST = 1e6  # that a number of a description may be
_KEYS = ("input_size", "mean", "std", "color_order", "template", "half_precision")
_WINDOWS = {"box": face_window, "person": person_window}
ALIGNMENTS = ("arcface", *_WINDOWS)
_LIMIT = 65536  # bytes of a description


@dataclass(frozen=True)
class Description:
    """What the JSON file says; None where it says nothing.

    input_size: (height, width). template: one of ALIGNMENTS, or where the five landmarks go, (x, y) in pixels of the
    input. half_precision: whether the vectors stay good enough in it.
    """

    input_size: tuple[int, int] | None = None
    preprocessing: Preprocessing | None = None
    template: str | Points = "arcface"
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
    if known.get("color_order", "RGB") not in ("RGB", "BGR"):
        raise _wrong(path, "color_order", "RGB or BGR")
    if not isinstance(known.get("half_precision", False), bool):
        raise _wrong(path, "half_precision", "true or false")
    preprocessing = None
    if {"mean", "std", "color_order"} & set(known):
        mean, deviation = _per_channel(path, known, "mean"), _per_channel(path, known, "std")
        preprocessing = Preprocessing(mean, deviation, known.get("color_order") == "BGR")
    return Description(_size(path, known), preprocessing, _template(path, known), known.get("half_precision", False))


def _wrong(path, what, expected):
    return WeightsError(f"{path.name} describes an encoder wrongly: {what} must be {expected}; correct it.")


def _size(path, known):
    value = known.get("input_size")
    sides = value if is_list(value) else [value]
    fits = len(sides) in (1, 2) and all(isinstance(side, int) and side in _SIDES for side in sides)
    if value is not None and not fits:
        raise _wrong(path, "input_size", f"a side or [height, width] in pixels, {_SIDES[0]} to {_SIDES[-1]}")
    return None if value is None else (sides[0], sides[-1])


def _per_channel(path, known, key):
    value = known.get(key, 127.5)
    values = value if is_list(value, 3) else [value]
    if not all(is_number(one, _MOST) and (key == "mean" or one > 0) for one in values):
        raise _wrong(path, key, "a number or three, in units of 0 to 255" + ", over 0" * (key == "std"))
    return tuple(map(float, values))


def _template(path, known):
    value = known.get("template", "arcface")
    try:
        return value if value in ALIGNMENTS else points(value, 5, "template", _MOST)
    except ValueError as error:
        expected = f"{', '.join(ALIGNMENTS)}, or five [x, y] points in pixels of the input"
        raise _wrong(path, "template", expected) from error


def load_own(path: Path, half_precision: Dtype = None, operations: Operations = nn) -> Descriptor:
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
    alignment: Alignment
    if template == "arcface":
        advice = f'write "template" into {beside.name}: box, person, or five points'
        alignment = arcface_alignment(path.name, embedder.size, advice)
    elif isinstance(template, str):
        alignment = _WINDOWS[template](embedder.size)
    else:
        alignment = FivePoints(template, embedder.size[0], antialias=True)
    return Descriptor(embedder, "onnx", embedder.dim, alignment)
