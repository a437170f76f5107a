"""What every test folder shares: the pack as the package `likeness`, one ComfyUI server, `--device` and `--dtype`."""

import importlib
import shutil
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
WITH_COMFYUI = [TESTS / name for name in ("host", "parity", "tools")]
DEAR = ("server", "seen")  # fixtures that take long: the files that want one go to one process, and first


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


def pytest_collection_modifyitems(items):
    wants = {item.path: name for item in items for name in DEAR if name in item.fixturenames}
    for item in items:
        if item.path in wants:
            item.add_marker(pytest.mark.xdist_group(wants[item.path]))
    items.sort(key=lambda item: item.path not in wants)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadgroup`: a file at a time goes to a process, as with loadfile, or a group of files."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Files(LoadGroupScheduling):
        def _split_scope(self, nodeid):
            return super()._split_scope(nodeid).partition("::")[0]

    return Files(config, log)


@pytest.fixture(scope="session")
def device(request):
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request):
    import torch

    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """A models folder of ComfyUI's that holds the files of tests/tiny. It is copied from, and nobody changes it."""
    from comfy_process import start_comfyui

    start_comfyui()
    from tiny.files import write_files

    folder = tmp_path_factory.mktemp("tiny") / "models"
    write_files(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, tiny_models):
    """ComfyUI as a process of its own, with the pack installed and the tiny models in place."""
    from comfy_process import ComfyServer, find_comfyui, prepare_base

    base = prepare_base(tmp_path_factory.mktemp("comfyui"))
    shutil.copytree(tiny_models, base / "models", dirs_exist_ok=True)
    # Attention as on GPUs, which is faster; the second server of tests/cli and the demo's leave it to ComfyUI.
    with ComfyServer(base, find_comfyui(), extra_args=["--use-pytorch-cross-attention"]) as running:
        yield running


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("server")
    if report.failed and running is not None:
        report.sections.append((f"ComfyUI's log, {running.log_path}", running.log_tail()))
