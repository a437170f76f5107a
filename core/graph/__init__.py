"""ONNX graphs as torch modules: any graph of known operations runs on any device, batched, without onnxruntime."""

from .module import GraphModule, build
from .plan import UnknownGraph

__all__ = ["GraphModule", "UnknownGraph", "build"]
