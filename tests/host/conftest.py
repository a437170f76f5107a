"""ComfyUI in the test process: `pack` is Likeness as ComfyUI's own loader loads it, `tiny_files` are models to run."""

import pytest
from comfy_process import TINY_MODELS, HostPack, start_nodes


@pytest.fixture(scope="session")
def pack() -> HostPack:
    loaded = HostPack(start_nodes() / "custom_nodes/likeness")
    assert loaded.loaded, "ComfyUI could not load the pack; its log above says why"
    return loaded


@pytest.fixture(scope="session")
def comfyui() -> HostPack:
    """ComfyUI with the tiny models' configurations, but without Likeness."""
    return HostPack(start_nodes() / "custom_nodes" / TINY_MODELS.name)


@pytest.fixture(scope="session")
def tiny_files(comfyui):
    """The files of tests/tiny in ComfyUI's models folder, and ComfyUI able to load them."""
    from tiny.files import write_files

    return write_files(comfyui.base / "models")
