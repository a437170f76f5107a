"""The house itself: rooms that hold few files, imports that run one way, words about what is in a room."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for top in ("core", "nodes") for path in sorted((ROOT / top).rglob("*.py"))]
FOLDERS = sorted({path.parent for path in FILES})
OPEN = {ROOT / "core", ROOT / "core/faces", ROOT / "core/host"}  # each of their files is a room of its own
A_FILE_A_FAMILY = {ROOT / "nodes", ROOT / "core/adapters"}
MOST, LONGEST = 10, 400  # files in a folder, lines in a file


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    if path.name == "__init__.py" or path.parent not in OPEN:
        return named(path.parent)
    return named(path)


def imported(path: Path):
    """The pack's files that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for name in node.names:
                places = (base / f"{name.name}.py", base / name.name / "__init__.py", base.with_suffix(".py"))
                yield next((place for place in places if place.is_file()), base / "__init__.py")


def test_imports_between_rooms_form_no_circle():
    below = defaultdict(set)
    for path in FILES:
        below[room(path)] |= {room(other) for other in imported(path)} - {room(path)}
    left = dict(below)
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_the_core_runs_without_a_host():
    for path in FILES:
        if named(path).startswith("core/") and not named(path).startswith("core/host/"):
            assert not [other for other in imported(path) if named(other).startswith(("core/host/", "nodes/"))], path


def test_nobody_but_the_door_opens_a_kind_of_model():
    for path in FILES:
        if room(path) not in ("core/host/unet", "core/host/foundation.py"):
            assert "core/host/unet" not in {room(other) for other in imported(path)}, path


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_a_room_is_small_and_says_what_is_in_it(folder):
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(files) <= MOST or folder in A_FILE_A_FAMILY
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    for path in files:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST, path


def functions(body):
    """Public functions of a module and methods of its classes, without what is inside of functions."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def returns(node) -> bool:
    """Whether a function returns or yields something."""
    if isinstance(node, ast.Yield | ast.YieldFrom) or (isinstance(node, ast.Return) and node.value is not None):
        return True
    inner = (one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.FunctionDef | ast.ClassDef))
    return any(map(returns, inner))


def test_public_functions_of_the_core_are_annotated():
    missing = []
    for path in FILES:
        if not named(path).startswith("core/"):
            continue
        for node in functions(ast.parse(path.read_text(encoding="utf-8")).body):
            given, where = node.args, f"{named(path)}:{node.name}"
            several = [one for one in (given.vararg, given.kwarg) if one is not None]
            arguments = [one for one in (*given.args, *given.kwonlyargs, *several) if one.arg not in ("self", "cls")]
            missing += [f"{where}:{one.arg}" for one in arguments if one.annotation is None]
            missing += [f"{where} returns"] if node.returns is None and returns(node) else []
    assert not missing
