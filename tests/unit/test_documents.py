"""What the documents point at is there: files, headings, tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "cli", "docs", "embedded", "web/docs")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))])
_TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)}


def dead(path, text):
    """Links and names of tests in a document that lead nowhere."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        if not page.exists() or anchor and anchor not in anchors(page.read_text()):
            yield target
    for name in re.findall(r"`(?:tests/)?(?:\w+/)?(test_\w+(?:\.py)?)`", text):
        if not (any((ROOT / "tests").rglob(name)) if name.endswith(".py") else f"def {name}(" in _TESTS):
            yield name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_points_at_is_there(document):
    assert list(dead(document, document.read_text())) == []


def test_what_is_not_there_is_found():
    text = "[a](docs/none.md) [b](AGENTS.md#no-such-heading) `tests/unit/test_none.py`, `test_nobody_wrote`"
    assert list(dead(ROOT / "README.md", text)) == [
        "docs/none.md", "AGENTS.md#no-such-heading", "test_none.py", "test_nobody_wrote"
    ]  # fmt: skip
