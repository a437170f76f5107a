"""What the code of the nodes can reach at all: which readers, which modules, no routes."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACK = [ROOT / "__init__.py", *sorted((ROOT / "nodes").glob("*.py")), *sorted((ROOT / "core").rglob("*.py"))]
OUT = {"requests", "urllib", "http", "socket", "ssl", "aiohttp", "websocket", "ftplib", "subprocess", "multiprocessing",
       "ctypes", "pty", "webbrowser", "smtplib"}  # fmt: skip
CLI = sorted((ROOT / "cli").glob("*.py"))


@functools.cache
def calls(path):
    """Every call in a file: its text up to the bracket, and its keyword arguments as text."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        (ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords})
        for node in nodes
        if isinstance(node, ast.Call)
    ]


def imports(path, nodes=ast.walk):
    """The top names of what a file imports from elsewhere; `nodes` chooses the parts of it that are looked at."""
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.partition(".")[0]


def made(name, paths=(*PACK, *CLI)):
    """(file's name, keyword arguments) of every call of `name`."""
    return [(path.name, options) for path in paths for called, options in calls(path) if called == name]


def test_what_may_hold_program_code_is_read_in_two_places_that_run_none():
    assert made("torch.load") == [("reader.py", {"map_location": "'cpu'", "weights_only": "True"})]
    assert made("np.load") == [("directions.py", {"mmap_mode": "'r'", "allow_pickle": "False"})]
    for name in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.jit.load", "torch.package.PackageImporter",
                 "marshal.loads", "shelve.open", "yaml.load", "joblib.load"):  # fmt: skip
        assert not made(name), name


def test_no_picture_is_decoded():
    """So that none can be a bomb: pictures come as tensors from ComfyUI's own loaders, and go through the command line
    as bytes."""
    for name in ("Image.open", "PIL.Image.open", "cv2.imread", "cv2.imdecode", "decode_image", "read_image"):
        assert not made(name), name
    assert not {name for path in (*PACK, *CLI) for name in imports(path)} & {"cv2", "imageio", "torchvision", "skimage"}


@pytest.mark.parametrize("path", PACK, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nodes_reach_no_network_and_no_shell(path):
    assert not set(imports(path)) & OUT
    assert not [
        called for called, _ in calls(path) if called.startswith(("os.system", "os.exec", "os.spawn", "os.pop"))
    ]


def test_the_pack_adds_no_route_to_the_server():
    """Whoever can reach a ComfyUI reaches its routes, without a login; the pack has none."""
    for path in PACK:
        text = path.read_text(encoding="utf-8")
        for word in (".routes", "add_routes", "app.router", "middleware"):
            assert word not in text, (path, word)
    assert [path.name for path in PACK if "server" in set(imports(path))] == ["progress.py"]


def at_once(node):
    """The parts of a module that run when it is imported."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield part
            yield from at_once(part)


def test_what_only_a_running_server_has_is_not_imported_with_the_pack():
    """Trainings and benchmarks use the pack in a process without a server."""
    found = {path.name: {"server", "execution", "main", "app"} & set(imports(path, at_once)) for path in PACK}
    assert {name: some for name, some in found.items() if some} == {}
