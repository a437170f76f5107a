"""ComfyUI in this process and beside it: what tests/host and tests/server share.

This file must not be called comfy.py: on sys.path it would hide ComfyUI's own package of that name.
"""

import asyncio
import atexit
import functools
import importlib
import importlib.util
import os
import pkgutil
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from comfy_versions import CACHE_SETTINGS, cached_outputs

ROOT = Path(__file__).resolve().parent.parent
TINY_MODELS = ROOT / "tests/tiny/likeness_tiny_models"
_OPTIONS = "--use-pytorch-cross-attention"


def _load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comfy_server = _load_script("comfy_server")
ComfyError, ComfyServer, find_comfyui = comfy_server.ComfyError, comfy_server.ComfyServer, comfy_server.find_comfyui


def prepare_base(base) -> Path:
    """A base directory for ComfyUI in which the pack and the tiny models are installed, by links."""
    return comfy_server.prepare_base_directory(base, {"likeness": ROOT, TINY_MODELS.name: TINY_MODELS})


@functools.cache
def start_comfyui() -> Path:
    """Make ComfyUI importable in this process, on the CPU, with a temporary base directory, which is returned.

    $COMFYUI_ARGS are options of ComfyUI's own; without it, attention is computed as on GPUs, which is much faster.
    """
    directory = tempfile.TemporaryDirectory(prefix="likeness-comfyui-")
    atexit.register(directory.cleanup)
    base = prepare_base(Path(directory.name).resolve())
    options = os.environ.get("COMFYUI_ARGS", _OPTIONS).split()
    _load_script("comfy_in_process").make_importable(find_comfyui(), base, options)
    return base


@functools.cache
def start_nodes() -> Path:
    """start_comfyui, and ComfyUI's own node packs loaded as its main.py does. Returns the base directory."""
    base = start_comfyui()
    asyncio.run(importlib.import_module("nodes").init_extra_nodes(init_custom_nodes=False, init_api_nodes=False))
    return base


def _module_of(node):
    return getattr(node, "RELATIVE_PYTHON_MODULE", "nodes")


@dataclass(frozen=True)
class Result:
    """What a graph left behind: `outputs` {node id: ui entry} as the history has it, and the values of every node."""

    outputs: dict
    executor: object

    def values(self, node_id: str) -> list:
        """The values on a node's outputs, in order. An output that is a list of values stays a list of several."""
        lists = cached_outputs(self.executor, node_id)
        return [values[0] if len(values) == 1 else values for values in lists]


class HostPack:
    """A node pack that ComfyUI's own loader has loaded in this process."""

    def __init__(self, path):
        """`path`: the pack's folder below the base directory's custom_nodes."""
        self.base = start_nodes()
        self.path = Path(path)
        nodes = importlib.import_module("nodes")
        # As ComfyUI does it: a pack cannot take the name of a node of ComfyUI's own.
        self.nodes = nodes.NODE_CLASS_MAPPINGS
        taken = {name for name, node in self.nodes.items() if not _module_of(node).startswith("custom_nodes")}
        self.loaded = asyncio.run(nodes.load_custom_node(str(path), taken, module_parent="custom_nodes"))
        self.module_name = str(path).replace(".", "_x_")  # ComfyUI's name for it in sys.modules

    def own_nodes(self) -> dict:
        """The node classes of this pack by id; `nodes` has everybody's."""
        return {name: node for name, node in self.nodes.items() if _module_of(node) == f"custom_nodes.{self.path.name}"}

    def module(self, name: str):
        """A module of the pack by its dotted name, the very one that the nodes use."""
        return importlib.import_module(f"{self.module_name}.{name}")

    def executor(self):
        """ComfyUI's prompt executor; hand one to several `run_graph` calls to have its cache between them."""
        execution = importlib.import_module("execution")
        server = SimpleNamespace(client_id=None, last_node_id=None, last_prompt_id=None, sockets_metadata={})
        server.send_sync = lambda *message: None
        return execution.PromptExecutor(server, execution.CacheType.CLASSIC, dict(CACHE_SETTINGS))

    def run_graph(self, prompt: dict, executor=None) -> Result:
        """Validate and execute a graph in API format. ComfyError with what the artist would see if that fails."""
        execution = importlib.import_module("execution")
        prompt_id, executor = uuid.uuid4().hex, executor or self.executor()
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(prompt_id, prompt, None))
        if not valid or node_errors:
            raise ComfyError(comfy_server.describe_refusal(prompt, {"error": error, "node_errors": node_errors}))
        executor.execute(prompt, prompt_id, {}, outputs)
        if not executor.success:
            raise ComfyError(comfy_server.describe_failure(executor.status_messages))
        return Result(executor.history_result["outputs"], executor)


@functools.cache
def load_likeness() -> HostPack:
    """This pack. The very modules that its nodes use are importable as `likeness...` from then on."""
    pack = HostPack(start_nodes() / "custom_nodes/likeness")
    assert pack.loaded, "ComfyUI could not load the pack; its log above says why"
    for room in (pack.module("core"), pack.module("nodes")):
        for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            importlib.import_module(found.name)
    for name, module in list(sys.modules.items()):
        if name == pack.module_name or name.startswith(f"{pack.module_name}."):
            sys.modules["likeness" + name.removeprefix(pack.module_name)] = module
    return pack
