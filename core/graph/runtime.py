"""Graphs that are not known here, run by onnxruntime if the artist has it: it reads and writes torch's own memory."""

import importlib.util
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..weights import WeightsError
from ..weights.onnx_file import Node, OnnxModel
from .module import GraphModule, build, checked
from .plan import GreedyGraph, UnknownGraph, is_known

_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_NUMPY = {torch.float32: np.float32, torch.float16: np.float16}
_PATIENCE = 2.0  # seconds that a graph may take for one picture when it is tried
_WITHOUT_END = {"Loop", "Scan", "SequenceMap"}
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class RuntimeGraph(nn.Module):
    """A graph behind the same face as GraphModule, computed by onnxruntime.

    Inputs and outputs are bound where torch has them, on the processor or on CUDA, so that nothing is copied. Its
    weights are onnxruntime's own: ComfyUI can neither count nor offload them. One session per kind of device.
    """

    def __init__(self, path: Path, name: str, size: tuple[int, int]):
        super().__init__()
        self.path, self.name = path, name
        self._sessions: dict[str, object] = {}
        session = self._session("cpu")
        given, results = session.get_inputs(), session.get_outputs()
        if len(given) != 1 or given[0].type not in _TYPES or any(value.type not in _TYPES for value in results):
            raise UnknownGraph(f"{name} does not take one picture of floating-point numbers; choose another file.")
        self.input, self.outputs = given[0].name, tuple(value.name for value in results)
        self.dtype = _TYPES[given[0].type]
        self._result_types = tuple(_TYPES[value.type] for value in results)
        free = (1, 3, *size)
        shape = given[0].shape if len(given[0].shape) == 4 else free
        self.input_shape = tuple(side if isinstance(side, int) else None for side in shape)
        sides = zip(self.input_shape[1:], free[1:], strict=True)
        self.checked_shape = checked((1, *(known or wanted for known, wanted in sides)), name)
        self.output_shapes = self._tried(self.checked_shape)
        for value, found in zip(results, self.output_shapes, strict=True):
            if not _agrees(value.shape, found):
                raise WeightsError(
                    f"{name} is damaged: it gives {list(found)} and says it gives others; fetch it again."
                )
        # a file may take several pictures and yet say that it gives one vector: no memory for more can be bound then
        one = any(shape and shape[0] == 1 for shape in ([*self.input_shape], *(value.shape for value in results)))
        self.takes_batches = not one and self._doubles()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        parts = [x] if self.takes_batches else x.split(1)
        results = [self._run(part.to(self.dtype).contiguous()) for part in parts]
        found = tuple(torch.cat(values) if len(values) > 1 else values[0] for values in zip(*results, strict=True))
        return found[0] if len(found) == 1 else found

    def _run(self, x: Tensor) -> tuple[Tensor, ...]:
        session = self._session(x.device.type)
        place = {"device_type": x.device.type, "device_id": x.device.index or 0}
        results = tuple(x.new_empty((len(x), *shape[1:]), dtype=dtype)
                        for shape, dtype in zip(self.output_shapes, self._result_types, strict=True))  # fmt: skip
        binding = session.io_binding()
        binding.bind_input(name=self.input, element_type=_NUMPY[x.dtype], shape=tuple(x.shape), buffer_ptr=x.data_ptr(),
                           **place)  # fmt: skip
        for name, result in zip(self.outputs, results, strict=True):
            binding.bind_output(name=name, element_type=_NUMPY[result.dtype], shape=tuple(result.shape),
                                buffer_ptr=result.data_ptr(), **place)  # fmt: skip
        if x.device.type == "cuda":
            torch.cuda.current_stream(x.device).synchronize()  # onnxruntime works on a stream of its own
        session.run_with_iobinding(binding)
        return results

    def _session(self, kind: str):
        if kind not in self._sessions:
            import onnxruntime

            provider = _PROVIDERS.get(kind)
            if provider not in onnxruntime.get_available_providers():
                raise UnknownGraph(
                    f"{self.name} needs onnxruntime for {kind}, and the installed one has none; choose another file."
                )
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            try:
                self._sessions[kind] = onnxruntime.InferenceSession(str(self.path), options, providers=[provider])
            # onnxruntime's own errors have no common class
            except Exception as error:
                raise WeightsError(f"{self.name} can't be read by onnxruntime either; fetch it again.") from error
        return self._sessions[kind]

    def _tried(self, shape) -> tuple[tuple[int, ...], ...]:
        """The outputs' shapes for an input's shape, from running it once."""
        import onnxruntime

        zeros = torch.zeros(shape, dtype=self.dtype).numpy()  # host read: nothing of a picture, while loading
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        patience = threading.Timer(_PATIENCE, setattr, (options, "terminate", True))
        patience.start()
        try:
            results = self._session("cpu").run(list(self.outputs), {self.input: zeros}, options)
        except Exception as error:
            raise WeightsError(f"{self.name} can't run on a picture of {list(shape)}; choose another file.") from error
        finally:
            patience.cancel()
        return tuple(tuple(result.shape) for result in results)

    def _doubles(self) -> bool:
        try:
            found = self._tried((2, *self.checked_shape[1:]))
        except WeightsError:
            return False
        return found == tuple((2, *shape[1:]) for shape in self.output_shapes)


def _agrees(said: list, found: tuple[int, ...]) -> bool:
    """Whether a shape is the one that a file says, which has words for sizes that are free."""
    return len(said) == len(found) and all(
        size == side for size, side in zip(said, found, strict=True) if isinstance(size, int)
    )


def graph_of(
    model: OnnxModel, path: Path | None = None, size: tuple[int, int] = (112, 112), device=None, dtype=None,
    operations=nn,
) -> GraphModule | RuntimeGraph:  # fmt: skip
    """A model's graph as a torch module, or by onnxruntime where it is not known here and that is installed.

    `size` (height, width) is for graphs that leave theirs free. Raises UnknownGraph with one sentence when neither can
    run it, WeightsError when it is damaged.
    """
    try:
        return build(model, None, size, device, dtype, operations)
    except UnknownGraph as error:
        if path is None or any(node.op in _WITHOUT_END for node in model.nodes):
            raise
        _refuse_greedy(model, size)
        if importlib.util.find_spec("onnxruntime") is None:
            raise UnknownGraph(f"{error} Installing onnxruntime would let it run; or choose another file.") from error
        return RuntimeGraph(path, model.name, size)


def _refuse_greedy(model: OnnxModel, size) -> None:
    """GreedyGraph for what would take all memory or time if its unknown operations left sizes as they are.

    Most do. Where they don't, nothing is known but that onnxruntime is stopped when it takes too long.
    """
    nodes = tuple(node if is_known(node) else Node("Identity", node.inputs[:1], node.outputs[:1])
                  for node in model.nodes)  # fmt: skip
    try:
        build(replace(model, nodes=nodes), None, size, "meta")
    except GreedyGraph:
        raise
    except WeightsError:
        return
