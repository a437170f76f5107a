"""ONNX graphs as torch modules. A graph of known operations runs on any device and in batches; others are refused."""

from .module import GraphModule, build
from .plan import UnknownGraph

__all__ = ["GraphModule", "UnknownGraph", "build"]
