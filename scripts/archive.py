"""The published archive: git's files without what .comfyignore names, as the registry packs them."""

import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def published() -> list[Path]:
    """The files of the archive, relative to the repository."""
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    lines = [line for line in (ROOT / ".comfyignore").read_text().split("\n") if line and not line.startswith("#")]
    folders = tuple(line for line in lines if line.endswith("/"))
    return [Path(name) for name in names if name and name not in lines and not name.startswith(folders)]


def pack(path: Path) -> Path:
    """Write the archive to `path` as a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in published():
            archive.write(ROOT / name, name)
    return path
