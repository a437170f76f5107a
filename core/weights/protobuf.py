"""Reading the wire format of protocol buffers (protobuf.dev/programming-guides/encoding), in place and bounded.

An ONNX file is one such message. Reading the few fields that matter takes less than the `onnx` package would ask of
an artist's installation, whose protobuf other packs pin; the tests hold it to what `onnx` reads.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTH = {FIXED64: 8, FIXED32: 4}
_PART = 2**20  # bytes of numbers decoded at once, each of which takes fifty in passing


class ProtobufError(ValueError):
    """Bytes that are not a message of this format, or not whole."""


class Budget:
    """How many fields and numbers of lists may still be read: a file of millions of them would take minutes."""

    def __init__(self, fields: int):
        self.left = fields

    def spend(self, count: int = 1) -> None:
        """Count what is read next; ProtobufError when that is too much."""
        self.left -= count
        if self.left < 0:
            raise ProtobufError("too many fields or numbers")


def fields(message: memoryview, budget: Budget) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) one by one; values are integers for VARINT and views of the bytes otherwise."""
    at, end = 0, len(message)
    while at < end:
        budget.spend()
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
        else:
            if kind == BYTES:
                size, at = _varint(message, at)
            elif kind in _WIDTH:
                size = _WIDTH[kind]
            else:
                raise ProtobufError(f"wire type {kind}")
            if size > end - at:
                raise ProtobufError("cut off")
            value, at = message[at : at + size], at + size
        if number == 0:
            raise ProtobufError("field number 0")
        yield number, kind, value


def _varint(message, at):
    result = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ProtobufError("cut off inside a number")
        byte = message[at]
        result |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return result, at
        shift += 7


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def integers(value: int | memoryview, budget: Budget) -> list[int]:
    """The int64 numbers of a repeated field, packed or one by one."""
    if isinstance(value, int):
        return [signed(value)]
    budget.spend(len(value))
    return packed_integers(value).tolist()


def floats(value: int | memoryview, budget: Budget) -> list[float]:
    """The float32 numbers of a packed field."""
    packed = message_of(value)
    budget.spend(len(packed) // 4)
    return np.frombuffer(packed, "<f4").tolist()


def packed_integers(packed: memoryview, dtype: DTypeLike = np.int64) -> np.ndarray:
    """Varints one after another, as int64 cast to `dtype`."""
    data = np.frombuffer(packed, np.uint8)
    found, start = [np.zeros(0, dtype)], 0
    while start < len(data):
        ends = np.flatnonzero(data[start : start + _PART] < 0x80)
        if len(ends) == 0:
            raise ProtobufError("cut off inside a number")
        part = data[start : start + ends[-1] + 1]
        found.append(_decoded(part, ends).astype(dtype))
        start += len(part)
    return np.concatenate(found)


def _decoded(data, ends):
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 9:
        raise ProtobufError("a number of over ten bytes")
    places = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    parts = (data & 0x7F).astype(np.uint64) << (7 * places).astype(np.uint64)
    return np.add.reduceat(parts, starts).astype(np.int64)


def text(value: int | memoryview) -> str:
    """A string field."""
    if isinstance(value, int):
        raise ProtobufError("a number in place of text")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("text that is none") from error


def message_of(value: int | memoryview) -> memoryview:
    """A field that is a message itself."""
    if isinstance(value, int):
        raise ProtobufError("a number in place of a message")
    return value
