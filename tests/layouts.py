"""Every published adapter's tensors by key and shape, at full size and without numbers."""

import functools
import gzip
import json
from pathlib import Path

import torch

_FILE = Path(__file__).resolve().parent / "data/adapter_layouts.json.gz"


@functools.cache
def shapes() -> dict[str, dict[str, list[int]]]:
    """Name of a format -> flat key -> shape."""
    return json.loads(gzip.decompress(_FILE.read_bytes()))


def on_meta(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a format, on the meta device."""
    return {key: torch.empty(shape, device="meta") for key, shape in shapes()[name].items()}
