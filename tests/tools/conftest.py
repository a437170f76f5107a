"""Tests of what no artist gets, scripts/ and benchmarks/: `make test-tools`. Some want the pack in ComfyUI."""

from host.conftest import pack  # noqa: F401
