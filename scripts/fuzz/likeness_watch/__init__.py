"""Goes into the server that is fuzzed: says what the pack opens, and hands out odd things of the right types.

$LIKENESS_WATCH: a file that gets a line for each thing that code of the pack does and should not. Loaded before the
pack is asked for anything, so that nothing is missed.
"""

import json
import os
import resource
import sys

import folder_paths
import torch

_REPORT = open(os.environ["LIKENESS_WATCH"], "a", buffering=1)
_PACK = f"{os.sep}custom_nodes{os.sep}likeness{os.sep}"
# What a node may open: ComfyUI's folders for it, and what Python and the pack are made of.
_ALLOWED = tuple(
    os.path.realpath(path) + os.sep
    for path in (
        folder_paths.models_dir, folder_paths.get_input_directory(), folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(), os.environ["LIKENESS_ROOT"], os.path.dirname(folder_paths.__file__),
        sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev",
    )
)  # fmt: skip
_READ_OR_WRITTEN = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
_NEVER = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.symlink", "os.link", "subprocess.Popen",
          "socket.connect", "socket.bind", "urllib.Request", "ftplib.connect", "smtplib.connect")  # fmt: skip
_seen = set()

limit = int(os.environ.get("LIKENESS_MEMORY", 10)) * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _by_the_pack():
    frame = sys._getframe(2)
    while frame is not None:
        if _PACK in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _watch(event, arguments):
    if event in _NEVER:
        what = (event, str(arguments)[:200])
    elif event in _READ_OR_WRITTEN and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.path.realpath(os.fsdecode(arguments[0]).replace("\0", "?"))
        if f"{path}{os.sep}".startswith(_ALLOWED):
            return
        what = (event, path)
    else:
        return
    if what not in _seen and _by_the_pack():
        _seen.add(what)
        _REPORT.write(json.dumps(what) + "\n")


sys.addaudithook(_watch)


class AnyType(str):
    def __ne__(self, other):
        return False


class FuzzValue:
    """A JSON text as a value of whatever type it is wired to: numbers and texts that no widget would let through."""

    RETURN_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "FACE_LANDMARKS", "BOUNDING_BOX", AnyType("*"))
    FUNCTION, CATEGORY = "give", ""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("STRING", {})}}

    def give(self, value):
        found = json.loads(value)
        number = found if isinstance(found, int | float) else 0
        if isinstance(number, int):
            number = min(max(number, -(10**300)), 10**300)
        text = found if isinstance(found, str) else value
        whole = int(number) if abs(number) < 1e301 else 0
        return whole, float(number), text, bool(found), found, found, text


class FuzzTensor:
    """An IMAGE, a MASK and a LATENT of any shape, type and content."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE", "MASK", "LATENT"), "give", ""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"shape": ("STRING", {}), "fill": ("STRING", {}), "kind": ("STRING", {})}}

    def give(self, shape, fill, kind):
        size = json.loads(shape)
        if fill == "noise":
            tensor = torch.rand(size, generator=torch.Generator().manual_seed(0))
        else:
            tensor = torch.full(size, float(fill))
        tensor = tensor.to(getattr(torch, kind))
        return tensor, tensor, {"samples": tensor}


class FuzzSink:
    """Takes anything, so that every output of a node is made."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "take", "", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (AnyType("*"), {})}}

    def take(self, value=None):  # a list of nothing comes as no value at all
        return {}


NODE_CLASS_MAPPINGS = {"FuzzValue": FuzzValue, "FuzzTensor": FuzzTensor, "FuzzSink": FuzzSink}
