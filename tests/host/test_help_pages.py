"""Help pages: one per node, with every input, every output, a picture, and only sentences that can be met."""

import ast
import importlib.util
import json
import re

import pytest
from comfy_process import ROOT
from PIL import Image

PAGES = ROOT / "web/docs"
_FRAGMENT = 8  # characters of a quoted sentence that are looked for; shorter pieces say nothing


@pytest.fixture(scope="module")
def pages_script():
    spec = importlib.util.spec_from_file_location("help_pages", ROOT / "scripts/help_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def schemas(pack):
    return {name: node.define_schema() for name, node in pack.own_nodes().items()}


def page(name):
    return (PAGES / f"{name}.md").read_text()


def section(text, title):
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def entries(text):
    """What each point of a section's list is about: its name, or the sentence in bold."""
    return [plain or bold for plain, bold in re.findall(r"^- (?:`([^`]+)`|\*\*(.+?)\*\*)", text, re.MULTILINE)]


def test_every_node_has_a_page_and_every_page_a_node(schemas):
    assert {path.stem for path in PAGES.glob("*.md")} == set(schemas)


def test_pages_have_one_form(schemas):
    for name in schemas:
        text = page(name)
        titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert titles == ["Inputs", "Outputs", "Recipes", "Good to know", "If it stops"], name
        assert 1 <= section(text, "Recipes").count("\n- ") <= 3, name
        assert len(text) < 8000 and all(section(text, title).strip() for title in titles), name


def test_lists_are_those_of_the_nodes(schemas, pages_script):
    for name, schema in schemas.items():
        text = page(name)
        assert text == pages_script.with_lists(text, schema), f"{name}: run scripts/help_pages.py"
        assert entries(section(text, "Inputs")) == [one.id for one in schema.inputs]
        assert entries(section(text, "Outputs")) == [one.display_name for one in schema.outputs]


def test_pictures_are_there_and_small(schemas):
    shown = set()
    for name in schemas:
        pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", page(name))
        assert pictures, name
        for words, target in pictures:
            path = PAGES / target
            assert len(words) > 10 and path.suffix == ".jpg" and path.stat().st_size < 100_000, target
            with Image.open(path) as picture:
                assert picture.format == "JPEG" and 200 <= picture.width <= 1200
            shown.add(path.name)
    assert {path.name for path in (PAGES / "images").iterdir()} == shown


def literals():
    """Every piece of text between placeholders in the strings of nodes/ and core/."""
    found = []
    for folder in ("nodes", "core"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text()))
            found += [one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return "\n".join(found)


def test_sentences_are_those_of_the_source(schemas):
    said = literals()
    for name in schemas:
        listed = section(page(name), "If it stops")
        assert len(entries(listed)) == listed.count("\n- "), f"{name}: a sentence that is not in bold"
        for sentence in entries(listed):
            pieces = [piece.strip() for piece in sentence.split("...") if len(piece.strip()) >= _FRAGMENT]
            assert pieces, f"{name}: {sentence}"
            for piece in pieces:
                assert piece in said, f"{name}: no node says {piece!r}"


def test_json_on_pages_is_json(schemas):
    for name in schemas:
        for block in re.findall(r"```json\n(.*?)```", page(name), re.DOTALL):
            json.loads(block)
