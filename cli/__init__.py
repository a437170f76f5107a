"""A command line for running workflows on ComfyUI servers: `python -m cli --help`, from the pack's folder.

The pack itself never imports it.
"""
