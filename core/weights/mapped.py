"""Tensors of a safetensors file, mapped into memory."""

import json
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The types of published adapters by the format's names; the library knows more.
_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


def mapped_tensors(path: Path, opened: Any) -> dict[str, Tensor]:
    """All tensors of a file that safetensors.safe_open has accepted as `opened`: the library checks, this cuts.

    The library's own get_tensor leaves two of Python's integers behind for good, the ends of the slice that it cuts
    (0.8.0 and before, in PyO3's PySlice::new): 64 bytes for each tensor, each time that a model is loaded. It is left
    what it alone knows: types that are rare.
    """
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        start = file.tell()
    content = torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)[start:]
    return {
        key: _cut(content, header[key]) if header[key]["dtype"] in _TYPES else opened.get_tensor(key)
        for key in opened.keys()
    }


def _cut(content, entry):
    first, last = entry["data_offsets"]
    piece, kind = content[first:last], _TYPES[entry["dtype"]]
    if piece.storage_offset() % kind.itemsize:  # allowed, and no view in torch
        piece = piece.clone()
    return piece.view(kind).reshape(entry["shape"])
