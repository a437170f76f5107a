"""ONNX graphs as torch modules: any graph of known operations runs on any device, batched; no other does."""

from .module import GraphModule, build
from .plan import UnknownGraph

__all__ = ["GraphModule", "UnknownGraph", "build"]
