"""Loads the pack as the package `likeness`, without ComfyUI and off sys.path, unless it is there already."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if "likeness" not in sys.modules:
    _spec = importlib.util.spec_from_file_location(
        "likeness", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    sys.modules["likeness"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["likeness"])
