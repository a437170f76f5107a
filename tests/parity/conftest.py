"""The fixtures of tests/host, for comparisons with other people's code."""

import pytest
from host.conftest import comfyui, encoder, pack  # noqa: F401


@pytest.fixture(scope="session")
def model():
    """The tiny FLUX as a MODEL."""
    from tiny import flux

    return flux.flux()


@pytest.fixture(scope="session")
def made(model):
    """diffusers' FLUX with the same weights."""
    import flux_reference

    return flux_reference.reference(model.model)
