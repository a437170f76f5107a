"""Writes the lists of inputs and outputs in web/docs/*.md from the nodes' tooltips, and locales/en/nodeDefs.json.

    python scripts/help_pages.py

What else a page says is written by hand: it stays as it is.
"""

import importlib
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES, ENGLISH = ROOT / "web/docs", ROOT / "locales/en/nodeDefs.json"
_LISTS = re.compile(r"## Inputs\n.*?(?=## Recipes\n)", re.DOTALL)


def lists(schema) -> str:
    """The sections Inputs and Outputs of a node's page: lists, as a table's last column is cut off in a side panel."""
    inputs = [f"- `{one.id}`{_default(one)}: {one.tooltip}" for one in schema.inputs]
    outputs = [f"- `{one.display_name}`: {one.tooltip}" for one in schema.outputs]
    return "\n".join(["## Inputs", "", *(inputs or ["None."]), "", "## Outputs", "", *outputs, "", ""])


def with_lists(page: str, schema) -> str:
    """A page with the lists that its node has now."""
    return _LISTS.sub(lambda _: lists(schema), page)


def _default(one):
    default = getattr(one, "default", None)
    if default in (None, ""):
        return " (optional)" if one.optional else ""
    return f" (`{default}`)"


def translatable(schema) -> dict:
    """A node's words in the form of nodeDefs.json; outputs by their place."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {one.id: {"name": one.id, "tooltip": one.tooltip} for one in schema.inputs},
        "outputs": {
            str(place): {"name": one.display_name, "tooltip": one.tooltip} for place, one in enumerate(schema.outputs)
        },
    }


def as_text(words: dict) -> str:
    return json.dumps(words, indent=2, ensure_ascii=False) + "\n"


def main():
    sys.path.insert(0, str(ROOT / "tests"))
    nodes = importlib.import_module("comfy_process").load_likeness().own_nodes()
    schemas = {name: node.define_schema() for name, node in nodes.items()}
    for name, schema in schemas.items():
        path = PAGES / f"{name}.md"
        path.write_text(with_lists(path.read_text(), schema))
    ENGLISH.parent.mkdir(parents=True, exist_ok=True)
    ENGLISH.write_text(as_text({name: translatable(schema) for name, schema in schemas.items()}))


if __name__ == "__main__":
    main()
