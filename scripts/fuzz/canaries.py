"""Good files where no node may look, watched by the kernel: whoever opens one is caught, whatever language it is in."""

import ctypes
import os
import shutil
import struct
from pathlib import Path

_OPEN, _ACCESS, _MODIFY, _DELETE, _CREATE = 0x20, 0x1, 0x2, 0x200, 0x100
_NONBLOCK = os.O_NONBLOCK
_EVENT = struct.Struct("iIII")


class Canaries:
    """Copies of `good` files in folders that are nobody's, as a context. `taken()`: which were touched since."""

    def __init__(self, folders: list[Path], good: list[Path]):
        self.names = []
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in good:
                shutil.copy(path, folder / f"secret{path.suffix}")
                self.names.append(folder / f"secret{path.suffix}")
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self):
        self._handle = self._libc.inotify_init1(_NONBLOCK)
        mask = _OPEN | _ACCESS | _MODIFY | _DELETE
        self._watched = {self._libc.inotify_add_watch(self._handle, bytes(path), mask): path for path in self.names}
        assert self._handle >= 0 and min(self._watched) >= 0, os.strerror(ctypes.get_errno())
        return self

    def __exit__(self, *exception):
        os.close(self._handle)

    def taken(self) -> list[str]:
        """The files that were opened, read, written or deleted since the last call."""
        found = set()
        while True:
            try:
                data = os.read(self._handle, 2**16)
            except BlockingIOError:
                return sorted(found)
            while data:
                watch, _, _, length = _EVENT.unpack_from(data)
                found.add(str(self._watched[watch]))
                data = data[_EVENT.size + length :]
