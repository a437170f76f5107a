"""Tests of what no artist gets: scripts/, benchmarks/, and the models, files and servers that other tests use."""

from host.conftest import comfyui, pack, tiny_files  # noqa: F401
