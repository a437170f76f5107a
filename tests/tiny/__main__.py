"""`cd tests && python -m tiny MODELS_DIR`: write the tiny model files from a process of its own."""

import sys

from comfy_process import start_comfyui

start_comfyui()

from .files import write_files  # noqa: E402  after ComfyUI, whose classes it uses

for path in write_files(sys.argv[1]):
    print(path, path.stat().st_size)
