"""Reading weight files safely: what a file is comes from its bytes, never from its name."""

import json
import pickle
import struct
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch

_ZIP = b"PK\x03\x04"
_PICKLE_OPCODE = b"\x80"
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself


class WeightsError(ValueError):
    """A weight file that can't be used; the message is one sentence for the artist."""


@dataclass(frozen=True)
class WeightFile:
    """Tensors of one file under flat, dotted keys, and the file's own metadata (empty for pickles)."""

    name: str
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_weights(path: str | Path) -> WeightFile:
    """Read a `.safetensors`, `.bin`, `.pt` or `.ckpt` file into CPU tensors.

    Nested dictionaries come out flat (`{"image_proj": {"latents": t}}` -> `image_proj.latents`), a lone `state_dict`
    wrapper is taken off. Pickles are read with `weights_only=True`: nothing in them is executed.
    Raises WeightsError with one sentence for a missing, empty, truncated, mislabelled or hostile file.
    """
    path = Path(path)
    name = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(f"{name} can't be opened ({error.strerror}); check that the file is there and readable.") from error
    if size == 0:
        raise WeightsError(f"{name} is empty (0 bytes); the download did not finish, so fetch it again.")
    if head.startswith(_ZIP) or head.startswith(_PICKLE_OPCODE):
        return WeightFile(name, _flatten(_read_pickle(path), name))
    lowered = head.lstrip().lower()
    if lowered.startswith((b"<!doctype", b"<html")):
        raise WeightsError(f"{name} is a web page, not weights; the download saved the page instead, so fetch the file itself.")
    if lowered.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{name} is a Git LFS pointer, not weights; run `git lfs pull` or download the file itself.")
    return _read_safetensors(path, size, head)


def _read_safetensors(path, size, head):
    name = path.name
    if size < 8:
        raise WeightsError(f"{name} has only {size} bytes, so it holds no weights; fetch it again.")
    (header_size,) = struct.unpack("<Q", head[:8])
    if header_size > _HEADER_LIMIT or not head[8:9] == b"{":
        raise WeightsError(
            f"{name} is neither a safetensors file nor a PyTorch checkpoint; check that it is a weight file and fetch it again."
        )
    if 8 + header_size > size:
        raise WeightsError(f"{name} is cut off inside its header ({size} bytes); fetch it again.")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = dict(file.metadata() or {})
    except (safetensors.SafetensorError, json.JSONDecodeError, OSError, RuntimeError) as error:
        raise WeightsError(f"{name} is damaged or cut off ({_first_line(error)}); fetch it again.") from error
    return WeightFile(name, tensors, metadata)


def _read_pickle(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path.name} holds program code besides weights, so it was not opened; use a .safetensors version of it."
            ) from error
        raise WeightsError(f"{path.name} is damaged ({_first_line(error)}); fetch it again.") from error
    # What torch raises for a broken archive differs between its readers; all of it means the same to the artist.
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path.name} is damaged or cut off ({_first_line(error)}); fetch it again.") from error


def _first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def _flatten(content, name):
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError(f"{name} holds a {type(content).__name__}, not a dictionary of weights; it is not a checkpoint.")
    tensors = {}
    pending = [("", content)]
    while pending:
        prefix, level = pending.pop()
        for key, value in level.items():
            if isinstance(value, dict):
                pending.append((f"{prefix}{key}.", value))
            elif isinstance(value, torch.Tensor):
                tensors[f"{prefix}{key}"] = value.detach()
    if not tensors:
        raise WeightsError(f"{name} holds no tensors; it is not a checkpoint.")
    return tensors
