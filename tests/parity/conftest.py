"""The fixtures of tests/host, for comparisons with other people's code."""

from host.conftest import comfyui, encoder, pack  # noqa: F401
