"""docs/adapters.md against what the adapters say of themselves, as they are published."""

import re
from functools import cache
from pathlib import Path

import pytest
from layouts import on_meta
from likeness.core.adapters import FAMILIES, VISION, describe_adapter
from likeness.core.places import ADAPTER_FOLDERS
from likeness.core.weights import WeightFile
from tiny.families import FILES as TINY
from tiny.families import family

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/adapters.md").read_text()
COLUMNS = ("Base", "File and folder", "Face encoder", "Looks through", "Weight", "Nodes", "Example", "Licence")
KNOWN = [known for family in FAMILIES for known in family.known]
FILES = [(known, file) for known in KNOWN for file in known.files]


def rows():
    """Title of an adapter -> {column: cell}."""
    header, _, *lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in [header, *lines]]
    assert tuple(cells[0][1:]) == COLUMNS
    return {title: dict(zip(COLUMNS, rest, strict=True)) for title, *rest in cells[1:]}


@cache
def read():
    """Specs of the published files by title and name; of those whose layout is not among the tests', tiny ones'."""
    specs = {}
    for known, file in FILES:
        made = [on_meta(file.layout)] if file.layout else map(family, TINY)
        found = (describe_adapter(WeightFile(file.name, tensors)) for tensors in made)
        specs[known.title, file.name] = next(spec for spec in found if spec.title == known.title)
    return specs


def test_every_adapter_has_its_row():
    assert {known.title for known in KNOWN} == rows().keys() and len(rows()) == len(KNOWN)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.title)
def test_a_row_says_where_the_files_are(known):
    row = rows()[known.title]
    assert re.findall(r"`([^`]+\.(?:bin|pt|ckpt|safetensors))`", row["File and folder"])[: len(known.files)] == [
        file.name for file in known.files
    ]
    assert row["Base"] == ", ".join(dict.fromkeys(file.base.name for file in known.files))
    assert f"in `models/{known.folder}`" in row["File and folder"] and f"({known.source}" in row["File and folder"]
    assert known.folder in ADAPTER_FOLDERS
    assert row["Licence"] == known.licence
    assert row["Face encoder"].split(":")[0].split(",")[0] == (known.face_space or "none")


@pytest.mark.parametrize(("known", "file"), FILES, ids=lambda one: getattr(one, "name", ""))
def test_a_row_says_what_the_adapter_says(known, file):
    spec, row = read()[known.title, file.name], rows()[known.title]
    assert (spec.family, spec.licence, spec.face_space) == (known.family, known.licence, known.face_space)
    assert bool(spec.face_dim) == (known.face_space is not None)
    assert not file.layout or spec.base == file.base.name
    vision = spec.look.vision if spec.look else None
    if vision is not None:
        assert VISION[vision].title in row["Looks through"].split(" or ")
        assert VISION[vision].source.split(", on ")[0].removesuffix(" on Hugging Face") in PAGE.replace("\n  ", " ")
        assert f"`models/{VISION[vision].folder}`" in PAGE
    elif spec.look is None:
        assert row["Looks through"] == "-"
    assert ("with clip_vision" in row["Nodes"]) == (vision in ("clip-h", "clip-l", "clip-g"))
    assert row["Weight"] == f"{spec.default_weight:g}"
    assert ("IDTextEncode" in row["Nodes"]) == spec.in_prompt
    assert ("LandmarkControl" in row["Nodes"]) == spec.needs_control_net
    parsed = spec.family == "consistentid" or (spec.look is not None and spec.look.backdrop != "kept")
    assert ("a face parser" in row["File and folder"]) == parsed


def test_examples_are_all_there():
    examples = {path.stem for path in (ROOT / "workflows/api").glob("*.json")}
    named = set(re.findall(r"`([a-z0-9_]+)`", "".join(row["Example"] for row in rows().values())))
    facelets = {name for name in examples if name.startswith("facelets_")}
    assert named | {"arc2face", "arc2face_new_people"} == examples - facelets
