"""ComfyUI's modules in this process, without a server: what tests, training and benchmarks share."""

import importlib
import logging
import sys
from pathlib import Path


def make_importable(comfyui: Path, base: Path, options: list[str]):
    """Put ComfyUI's folder on sys.path and have it read its settings: the CPU, `base` and further `options` of its own.

    They are read from the command line when `comfy` is first imported, so this happens once per process.
    """
    # Said once for each audio model at whatever moment ComfyUI imports it, in the middle of tables that are printed.
    logging.getLogger().addFilter(lambda record: not record.getMessage().startswith("torchaudio missing"))
    sys.path.insert(0, str(comfyui))
    importlib.import_module("comfy.options").enable_args_parsing()
    own, sys.argv = sys.argv, ["main.py", "--cpu", "--base-directory", str(base), *options]
    try:
        importlib.import_module("comfy.cli_args")
    finally:
        sys.argv = own
    # At once, as in main.py: ComfyUI's `nodes` puts comfy/ on sys.path, where another `utils` lies.
    importlib.import_module("utils.extra_config")
