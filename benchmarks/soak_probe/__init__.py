"""A node pack without nodes for the soak test's server: GET /soak/held says what its process holds right now."""

import ctypes
import gc

import psutil
import torch
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


@PromptServer.instance.routes.get("/soak/held")
async def held(request):
    """{"tensors": how many are alive, "resident": bytes}, once the C library has given back what nobody holds."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc keeps freed memory for later otherwise
        library.malloc_trim(0)
    tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    return web.json_response({"tensors": tensors, "resident": psutil.Process().memory_info().rss})
