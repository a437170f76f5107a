"""For tests and the demo only: teaches ComfyUI's checkpoint detection the narrow SD1.5 and SDXL of tests/tiny.

In a custom_nodes folder, it lets CheckpointLoaderSimple and ControlNetLoader read the files of tests/tiny/files.py.
"""

import comfy.supported_models

from .configs import TinySD15, TinySDXL

comfy.supported_models.models += [TinySD15, TinySDXL]

NODE_CLASS_MAPPINGS = {}
