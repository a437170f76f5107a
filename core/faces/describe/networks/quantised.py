"""Weights stored as 8-bit numbers, each tensor beside its [scale, minimum]."""

from pathlib import Path

from torch import Tensor

from ....weights.reader import read_weights


def read_quantised(path: Path) -> dict[str, Tensor]:
    """Tensors of a file that scripts/convert_embedded.py wrote, float64.

    Stored value = 8-bit number * scale + minimum, rounded to float32 as the original package does it. Tensors without a
    `.quantisation` beside them are float32 in the file already.
    """
    stored, tensors = read_weights(path).tensors, {}
    for name, value in stored.items():
        if name.endswith(".quantisation"):
            continue
        if f"{name}.quantisation" in stored:
            scale, minimum = stored[f"{name}.quantisation"]
            value = (value.double() * scale + minimum).float()
        tensors[name] = value.double()
    return tensors
