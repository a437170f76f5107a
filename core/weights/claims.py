"""What a PyTorch checkpoint claims, before PyTorch makes anything of it.

A few bytes can claim gigabytes (a storage, a compressed entry) or years (a tuple of two tuples of two tuples..., as a
key). Opcodes: CPython's Lib/pickletools.py; layout of the files: torch.serialization.
"""

import io
import pickletools
import struct
import zipfile
from typing import Any, BinaryIO, NamedTuple

# Far above any model's: thirty opcodes a tensor, and tuples of four sizes in tuples of arguments.
_OPCODES, _IN_A_TUPLE, _DEEP = 300_000, 2**16, 50
_ENTRIES, _LIST, _PICKLE = 50_000, 2**23, 2**26  # files in an archive, and bytes of their list and of the pickle
_UNPACKED = 4  # sizes of the file: PyTorch compresses program code only, other tools everything
_SMALL = 2**12  # bytes that may be asked for though they are not there
_OLD_PICKLES = 5  # one after another in a file of the old format, storages thereafter


class ClaimError(ValueError):
    """A claim that no whole and honest file makes."""


class _Tuple(NamedTuple):
    parts: tuple
    size: int  # with all that is inside of it, as often as it is there
    depth: int


def check_claims(file: BinaryIO, size: int, is_zip: bool) -> None:
    """ClaimError, or any error of reading, for a checkpoint of `size` bytes that claims to be more; ends at its start.

    Tensors and storages may not reach beyond the file, nor its entries much beyond it, and tuples may not multiply.
    """
    if is_zip:
        pickles, unpacked = _pickles(file, size)
        for pickled in pickles:
            _Scan(unpacked).run(pickled)
    else:
        scan = _Scan(size)
        for _ in range(_OLD_PICKLES):
            if file.tell() < size:
                scan.run(_Rest(file, size))
    file.seek(0)


def _pickles(file, size) -> tuple[list[BinaryIO], int]:
    """The pickles of an archive, and the bytes of all its entries once they are unpacked."""
    file.seek(max(0, size - 2**16 - 22))
    tail = file.read()
    end, large_end = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    if length == 2**32 - 1:
        (length,) = struct.unpack_from("<Q", tail, large_end + 40)
    if length > _LIST:
        raise ClaimError("too many entries")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > _ENTRIES or unpacked > _UNPACKED * size + 2**20:
            raise ClaimError("too many entries, or such as are much larger than the file")
        # an archive with something before it is found elsewhere by other readers
        if min(entry.header_offset for entry in entries) != 0:
            raise ClaimError("entries that are not where they should be")
        pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
        if any(entry.file_size > _PICKLE for entry in pickles):
            raise ClaimError("a pickle of that size")
        return [io.BytesIO(archive.read(entry)) for entry in pickles], unpacked


class _Rest:
    """A file that is asked for no more than it has: a pickle may say that a text of two gigabytes follows."""

    def __init__(self, file: BinaryIO, size: int):
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, count: int) -> bytes:
        if count > _SMALL:
            count = min(count, self._size - self._file.tell())
        return self._file.read(count)


class _Scan:
    """The stack of an unpickler with whole numbers, texts and tuples on it, and None for all that is something else."""

    def __init__(self, size: int):
        self.size, self.left = size, _OPCODES
        self.storages: dict[object, int] = {}
        self.made = 0

    def run(self, file: Any) -> None:
        """Read one pickle of a BinaryIO, or of what reads like one, to its end."""
        stack: list[Any] = []
        memo: dict[Any, Any] = {}
        for opcode, argument, _ in pickletools.genops(file):
            self.left -= 1
            if self.left < 0:
                raise ClaimError("too many things")
            name = opcode.name
            if name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            else:
                taken = _take(stack, opcode)
                if opcode.stack_after:
                    stack += [self._result(name, argument, taken)] * len(opcode.stack_after)

    def _result(self, name, argument, taken):
        if "TUPLE" in name:
            return _tuple(tuple(taken))
        if name == "BINPERSID":
            self._storage(taken[0])
        elif name in ("REDUCE", "NEWOBJ") and isinstance(taken[-1], _Tuple):
            self._call(taken[-1].parts)
        if name == "MARK":
            return _MARK
        if name == "APPEND" or name.startswith("SET") or name in ("APPENDS", "BUILD", "ADDITEMS"):
            return None
        return argument if isinstance(argument, int | str) else None

    def _storage(self, identity):
        """("storage", type, key, place, how many numbers, ...), as torch.save writes them."""
        if not isinstance(identity, _Tuple) or len(identity.parts) < 5 or not isinstance(identity.parts[4], int):
            raise ClaimError("a storage of another form")
        key, count = identity.parts[2], identity.parts[4]
        self.storages[key] = max(count, self.storages.get(key, 0))
        if count < 0 or sum(self.storages.values()) > self.size:
            raise ClaimError("storages that are larger than the file")

    def _call(self, parts):
        """(storage, offset, sizes, strides, ...) for a tensor, or whatever else is made by a call."""
        numbers = [part for part in parts if isinstance(part, int)]
        self.made += numbers[0] if len(parts) == len(numbers) == 1 else 0
        reach = max([0, *numbers])
        if len(parts) >= 4 and isinstance(parts[2], _Tuple) and isinstance(parts[3], _Tuple):
            pairs = zip(parts[2].parts, parts[3].parts, strict=False)
            reach += sum(max(0, length - 1) * step for length, step in pairs
                         if isinstance(length, int) and isinstance(step, int))  # fmt: skip
        if max(reach, self.made) > self.size:
            raise ClaimError("a tensor that is larger than the file")


_MARK = object()


def _take(stack, opcode) -> list:
    """What an opcode takes from the stack, without the mark."""
    before = opcode.stack_before
    if pickletools.markobject not in before:
        return [stack.pop() for _ in before][::-1]
    place = len(stack) - 1
    while stack[place] is not _MARK:
        place -= 1
        if place < 0:
            raise ClaimError("no mark")
    taken = stack[place + 1 :]
    del stack[place:]
    return [stack.pop() for _ in range(before.index(pickletools.markobject))][::-1] + taken


def _tuple(parts) -> _Tuple:
    inner = [part for part in parts if isinstance(part, _Tuple)]
    size = 1 + len(parts) - len(inner) + sum(part.size for part in inner)
    depth = 1 + max((part.depth for part in inner), default=0)
    if size > _IN_A_TUPLE or depth > _DEEP:
        raise ClaimError("tuples in tuples")
    return _Tuple(parts, size, depth)
