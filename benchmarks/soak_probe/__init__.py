"""A node pack without nodes for the soak test's server: GET /soak/held says what its process holds right now."""

import ctypes
import gc
import sys

import psutil
import torch
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS = {}


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc 2.33 and later, in bytes but for the three counts."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
    )]  # fmt: skip


_C = ctypes.CDLL(None)
if hasattr(_C, "mallinfo2"):
    _C.mallinfo2.restype = _Mallinfo


def _size(value) -> int:
    """Bytes of a value of JSON's kinds, with what is in it."""
    inside = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    parts = map(_size, inside) if isinstance(value, dict | list | tuple) else ()
    return sys.getsizeof(value) + sum(parts)


@PromptServer.instance.routes.get("/soak/held")
async def held(request):
    """What is held once the C library has given back what nobody holds.

    "tensors": how many are alive; "objects": how many of Python's that can hold others; "blocks": how many pieces, of
    512 bytes at most, all its objects are in; "resident": bytes of the process; "allocated": bytes that the C library
    has given out, for larger objects, for every tensor's content and to compiled code, 0 where it does not say;
    "history": bytes of ComfyUI's history of the prompts, which it keeps of up to 10,000. Resident memory can grow while
    all others stand still: Python gives memory back by the MiB, and one object that lives long keeps all of that.
    """
    gc.collect()
    if hasattr(_C, "malloc_trim"):  # glibc keeps freed memory for later otherwise
        _C.malloc_trim(0)
    resident, blocks, allocated = psutil.Process().memory_info().rss, sys.getallocatedblocks(), 0
    if hasattr(_C, "mallinfo2"):
        info = _C.mallinfo2()
        allocated = info.uordblks + info.hblkhd
    objects = gc.get_objects()  # last: half a million of them make a list of megabytes
    return web.json_response({
        "tensors": sum(issubclass(type(thing), torch.Tensor) for thing in objects),
        "objects": len(objects),
        "blocks": blocks,
        "resident": resident,
        "allocated": allocated,
        "history": _size(PromptServer.instance.prompt_queue.history),
    })  # fmt: skip
