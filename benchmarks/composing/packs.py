"""The packs of others, loaded by ComfyUI's own loader from the folder that PACKS names."""

import contextlib
import sys
from pathlib import Path

from comfy_process import HostPack


class Packs:
    """Packs by their folder's name, each loaded when it is first asked for: some change ComfyUI itself."""

    def __init__(self, folder: Path | None):
        self.folder, self._loaded = folder, {}

    def has(self, name: str) -> bool:
        return self.folder is not None and (self.folder / name / "__init__.py").exists()

    def load(self, name: str) -> bool:
        """Whether the pack could be loaded; ComfyUI's log says why not."""
        if name not in self._loaded:
            with contextlib.redirect_stdout(sys.stderr):  # some greet; the table is alone on the standard output
                self._loaded[name] = bool(HostPack(self.folder / name).own_nodes())
        return self._loaded[name]
