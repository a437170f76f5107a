"""A ComfyUI process with the pack and nothing else: Facelets is all that the command line's tests need."""

import pytest
from batches import start_server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with start_server(tmp_path_factory.mktemp("comfyui")) as running:
        yield running
