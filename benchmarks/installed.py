"""The pack as an artist gets it: the published archive's size, comfy-import-guard's word on it, and what import costs.

    make installed

The archive is packed, unpacked into the custom_nodes of a bare ComfyUI and started there, with every optional package
missing. Import times are ComfyUI's own, from its log; beside them stands the time that ComfyUI takes to start.
"""

import argparse
import ast
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

from archive import pack  # noqa: E402
from comfy_server import ComfyServer, find_comfyui, prepare_base_directory  # noqa: E402

# Read by the server's Python before anything else: packages that are not found, and a note of what is opened.
WATCH = """
import sys
from importlib.machinery import PathFinder

OPTIONAL = {optional!r}


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in OPTIONAL else super().find_spec(name, path, target)


def note(event, arguments, log=open({log!r}, "a", buffering=1)):
    if event == "open" and isinstance(arguments[0], str) and {pack!r} in arguments[0]:
        print(arguments[0], file=log)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
sys.addaudithook(note)
"""
# Installed for development and the tests, and needed neither by ComfyUI nor by the pack.
OPTIONAL = (
    "cv2 diffusers facenet_pytorch facexlib insightface matplotlib onnx onnxruntime pandas playwright pyarrow pytest "
    " ray skimage timm websocket"
).split()


def guard(comfyui: Path, base: Path, folder: Path) -> int:
    """Run comfy-import-guard on the pack in `base` against this very ComfyUI; returns its exit status."""
    clone = folder / "ComfyUI"  # the tool reads ComfyUI from git
    for path in comfyui.rglob("*.py"):
        target = clone / path.relative_to(comfyui)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    git = ["git", "-c", "user.name=likeness", "-c", "user.email=likeness@localhost"]
    for command in (["init", "-q"], ["add", "-f", "."], ["commit", "-qm", "ComfyUI as installed"]):
        subprocess.run([*git, *command], cwd=clone, check=True)
    tool = [Path(sys.executable).parent / "comfy-import-guard", "--quiet", "--offline", "--cache-dir", folder, "check"]
    options = ["--comfy-dir", base, "--target", "HEAD", "--no-update", "--strict"]
    return subprocess.run([*tool, *options]).returncode


def start(base: Path, comfyui: Path) -> tuple[float, float]:
    """Seconds from nothing to a server that answers, and of the pack's import, with all of its nodes there."""
    (base / "server.log").unlink(missing_ok=True)
    began = time.perf_counter()
    with ComfyServer(base, comfyui) as server:
        up = time.perf_counter() - began
        for node in node_ids(base / "custom_nodes/likeness"):
            server.object_info(node)
        [imported] = re.findall(r"([\d.]+) seconds: \S*likeness", server.log_tail(1000))
    return up, float(imported)


def node_ids(installed: Path) -> list[str]:
    """The classes that nodes/__init__.py lists."""
    tree = ast.parse((installed / "nodes/__init__.py").read_text())
    [nodes] = [item.value for item in tree.body if isinstance(item, ast.Assign) and item.targets[0].id == "NODES"]
    return [name.id for name in nodes.elts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=5, help="how often ComfyUI is started after the first time (5)")
    starts = parser.parse_args().starts
    comfyui = find_comfyui()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        archive = pack(folder / "likeness.zip")
        base = prepare_base_directory(folder / "base", {})
        installed = base / "custom_nodes/likeness"
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(installed)
            unpacked = sum(item.file_size for item in packed.infolist())
        print(f"archive: {archive.stat().st_size / 1e6:.1f} MB packed, {unpacked / 1e6:.1f} MB unpacked\n")
        refused = guard(comfyui, base, folder)
        log = folder / "opened.log"
        watch = WATCH.format(optional=set(OPTIONAL), log=str(log), pack=str(installed))
        (folder / "watch").mkdir()
        (folder / "watch/sitecustomize.py").write_text(watch)
        os.environ["PYTHONPATH"] = str(folder / "watch")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # artists' Python keeps what it compiled
        _, first = start(base, comfyui)
        times = [start(base, comfyui) for _ in range(starts)]
        ups, imports = (sorted(column) for column in zip(*times, strict=True))
        opened = {Path(line) for line in log.read_text().splitlines()}
        weights = sorted(str(path.relative_to(installed)) for path in opened if "embedded" in path.parts)
        print(f"ComfyUI without {', '.join(OPTIONAL)}: all {len(node_ids(installed))} nodes load")
        print(f"files of the pack opened at start: {len(opened)}, of them weights: {weights or 'none'}")
        median = statistics.median(imports)
        print(f"import, the first time, when Python compiles it: {first:.2f} s")
        print(f"import, {starts} later starts: {median:.2f} s (median), {imports[0]:.2f} to {imports[-1]:.2f}")
        print(f"ComfyUI itself is up after {statistics.median(ups):.1f} s")
    sys.exit(refused or bool(weights))


if __name__ == "__main__":
    main()
