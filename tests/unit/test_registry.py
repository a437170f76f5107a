"""What ComfyUI's registry wants of a pack: its description, what the archive holds, and no forbidden calls."""

import re
from pathlib import Path

import pytest
from archive import published

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60_000_000  # bytes before packing; the registry takes archives of up to 100 MB
NEEDED = {"__init__.py", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"}
NEEDED_FOLDERS = {"nodes", "core", "embedded", "web", "locales", "workflows", "cli"}


@pytest.fixture(scope="module", name="published")
def published_files() -> list[Path]:
    return published()


def test_the_archive_holds_what_nodes_need_and_no_more(published):
    assert {path.name for path in published if len(path.parts) == 1} - {".gitignore", ".comfyignore"} >= NEEDED
    assert {path.parts[0] for path in published if len(path.parts) > 1} == NEEDED_FOLDERS
    size = sum((ROOT / path).stat().st_size for path in published)
    assert size < LIMIT, size


def test_the_description():
    text = (ROOT / "pyproject.toml").read_text()

    def said(name):
        return re.search(rf"^{name} = (.+)$", text, re.MULTILINE)[1].strip('"')

    assert re.fullmatch(r"[a-z][a-z0-9-]{0,99}", said("name")) and "comfyui" not in said("name")
    assert re.fullmatch(r"\d+\.\d+\.\d+", said("version")) and said("requires-comfyui") == ">=0.3.75"
    assert said("dependencies") == "[]" and not (ROOT / "requirements.txt").read_text().split("#")[0].strip()


def test_nothing_is_installed_or_evaluated_at_run_time(published):
    """Besides ruff's S102 and S307, which `make test` runs: no pip, no shell."""
    for path in published:
        if path.suffix == ".py":
            text = (ROOT / path).read_text()
            assert not re.search(r"\bsubprocess\b|os\.system|\bpip\b.*install\b.*\(", text), path
            assert not re.search(r"(?<![.\w])(eval|exec)\(", text), path
