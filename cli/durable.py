"""Files that are whole after a kill or a power cut: lines that are appended, files that are renamed, a lock."""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .problems import Disk, Usage

_PART = ".part"
_CHUNK = 2**20


def make_folder(path: Path):
    """A folder that is no link, so that what is put into it stays below its parent."""
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise Disk(f"{path} is in the way: a folder of that name is needed.") from error
    if path.is_symlink():
        raise Disk(f"{path} is a link; results are put into folders only, so take it away.")


def write_whole(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """Write a file under a temporary name and rename it when it is on the disk; returns its SHA-256 and its size.

    A link at `path` is replaced, never followed. Disk when there is no room, or no right to write there.
    """
    part = path.with_name(path.name + _PART)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    digest, size = hashlib.sha256(), 0
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return digest.hexdigest(), size


def unwritable(path: Path, error: OSError) -> Disk:
    """What to say of a file that can't be written."""
    return Disk(f"{path} can't be written ({error.strerror or error}); make room or correct its rights.")


def clear_parts(folder: Path):
    """Take away what a killed run left unfinished."""
    for part in folder.glob(f"*{_PART}"):
        part.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file; OSError when it can't be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a file is there with this content; a link is no file."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode) and digest_of(path) == sha256
    except OSError:
        return False


class Lines:
    """A file of JSON records, one a line, each on the disk before `append` returns; Disk when one can't be written."""

    def __init__(self, path: Path):
        """Opens it; a last line that a kill or a full disk tore is taken off."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        whole = self._length_of_whole_lines()
        if whole != os.fstat(self._file).st_size:
            os.ftruncate(self._file, whole)
        _sync_folder(path.parent)

    def append(self, record: dict):
        line = as_line(record)
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def close(self):
        os.close(self._file)

    def _length_of_whole_lines(self):
        size = os.fstat(self._file).st_size
        end = size
        with open(self.path, "rb") as file:
            while end > 0:
                start = max(0, end - _CHUNK)
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
                if found >= 0:
                    return start + found + 1
                end = start
        return 0


def as_line(record: dict) -> bytes:
    return json.dumps(record, allow_nan=False).encode() + b"\n"


def read_lines(path: Path) -> Iterator[dict]:
    """The records of such a file. A torn last line, and one that a power cut left full of zeros, are no records."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n")[:-1]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


@contextmanager
def locked(path: Path):
    """Keep other runs out of a folder, until it ends or the process dies; Usage when one is in it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Usage(f"Another run works in {path.parent}; wait for it, or choose another --out.") from error
        yield
    finally:
        os.close(handle)


def _sync_folder(folder: Path):
    """Put a folder's names on the disk; Windows has no such call and needs none."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
