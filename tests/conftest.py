"""What every test folder shares: the pack as a package, the photographs, `--device` and `--dtype`."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _load_pack():
    """Load the pack's root under the name `likeness` as ComfyUI's loader does: from its __init__.py, no sys.path."""
    if "likeness" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "likeness", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["likeness"] = module
    spec.loader.exec_module(module)


_load_pack()


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="torch device that the unit tests run on")
    parser.addoption("--dtype", default="float32", help="torch dtype that the unit tests run in")


@pytest.fixture(scope="session")
def device(request):
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    import torch

    return getattr(torch, request.config.getoption("--dtype"))
