"""ONNX graphs as torch modules: any graph of known operations runs on any device, batched, without onnxruntime."""

from .module import GraphModule, build
from .plan import UnknownGraph
from .runtime import RuntimeGraph, graph_of

__all__ = ["GraphModule", "RuntimeGraph", "UnknownGraph", "build", "graph_of"]
