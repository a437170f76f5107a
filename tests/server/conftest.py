"""ComfyUI as a process of its own, with the pack installed and the tiny models in place."""

import subprocess
import sys

import pytest
from comfy_process import ROOT, ComfyServer, find_comfyui, prepare_base


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    base = prepare_base(tmp_path_factory.mktemp("comfyui"))
    # by a process of its own: here ComfyUI is never imported, so these tests run beside tests/host or without it
    subprocess.run([sys.executable, "-m", "tiny", base / "models"], cwd=ROOT / "tests", check=True)
    # Attention as on GPUs, which is faster; tests/cli and the demo's test leave it to ComfyUI.
    with ComfyServer(base, find_comfyui(), extra_args=["--use-pytorch-cross-attention"]) as running:
        yield running


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    running = item.funcargs.get("server")
    if report.failed and running is not None:
        report.sections.append((f"ComfyUI's log, {running.log_path}", running.log_tail()))
