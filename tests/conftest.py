"""What every test folder shares: the pack as the package `likeness`, `--device` and `--dtype`."""

import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
WITH_COMFYUI = [TESTS / name for name in ("host", "parity", "tools")]


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="torch device that the unit tests run on")
    parser.addoption("--dtype", default="float32", help="torch dtype that the unit tests run in")


def pytest_configure(config):
    """Load the pack, before any module of tests is: one copy for all, ComfyUI's where a test may want ComfyUI."""
    asked = [(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args]
    if any(path.is_relative_to(room) or room.is_relative_to(path) for path in asked for room in WITH_COMFYUI):
        if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):  # else only workers run tests
            importlib.import_module("comfy_process").load_likeness()
    else:
        importlib.import_module("alone")


@pytest.fixture(scope="session")
def device(request):
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    import torch

    return getattr(torch, request.config.getoption("--dtype"))
