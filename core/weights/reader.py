"""Reading weight files safely: what a file is comes from its bytes, never from its name."""

import pickle
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch

from ..quoted import quoted
from .claims import check_claims
from .mapped import mapped_tensors

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80\x02"  # PyTorch before its zip files: protocol 2
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself
# Far above any model's (FLUX: 780 tensors, 90 kB), and far below what takes seconds and gigabytes.
_HEADER_READ, _TENSORS = 2**24, 50_000
_PREFIX_LIMIT = 1000  # characters; published checkpoints are nested two or three dictionaries deep
# What torch's weights-only reader says about things that are neither tensors nor plain containers.
_PROGRAM_CODE = re.compile(r"GLOBAL|TorchScript|which has no effect|Can only (create new object|build) ")


class WeightsError(ValueError):
    """A weight file that can't be used; the message is one sentence for the artist."""


def why_no_weights(head: bytes, name: str) -> str | None:
    """The sentence when a file is empty or what a failed download leaves, from its first bytes; None otherwise."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return f"{name} is empty (0 bytes); the download did not finish, so fetch it again."
    if text.startswith(b"<"):
        return f"{name} is a web page, not weights; the download saved the page instead, so fetch the file itself."
    if text.startswith(b"version https://git-lfs"):
        return f"{name} is a Git LFS pointer, not weights; run `git lfs pull` or download the file itself."
    return None


@dataclass(frozen=True)
class WeightFile:
    """Tensors of one file under flat, dotted keys, and the file's own metadata; of a pickle, the words and numbers in
    its `opts`."""

    name: str
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str] = field(default_factory=dict)


def read_weights(path: str | Path, lone: str | None = None) -> WeightFile:
    """Read a `.safetensors`, `.bin`, `.pt` or `.ckpt` file into CPU tensors.

    Nested dictionaries come out flat (`{"image_proj": {"latents": t}}` -> `image_proj.latents`), a lone `state_dict`
    wrapper is taken off; tensors beside it stay. Pickles are read with `weights_only=True`: nothing in them is
    executed. Tensors of safetensors files may be mapped from the file: copy what is kept. `lone`: the key of a tensor
    that a pickle holds alone, in place of a dictionary; without, such files are refused.
    Raises WeightsError with one sentence for a missing, empty, truncated, mislabelled or hostile file.
    """
    path = Path(path)
    name = path.name
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise WeightsError(
            f"{name} can't be opened ({error.strerror}); check that the file is there and readable."
        ) from error
    if _is_safetensors(head):  # first: the length of its header may begin with any byte, a pickle's included
        return _read_safetensors(path, size, head)
    if head.startswith((_ZIP, _PICKLE)):
        content = _read_pickle(path, size, head.startswith(_ZIP))
        if lone is not None and isinstance(content, torch.Tensor):
            content = {lone: content}
        return WeightFile(name, _flatten(content, name), _options(content))
    reason = why_no_weights(head, name)
    if reason is not None:
        raise WeightsError(reason)
    raise WeightsError(
        f"{name} is neither a safetensors file nor a PyTorch checkpoint ({size:,} bytes); check that it is a weight "
        "file and fetch it again."
    )


def _too_many(name):
    return f"{name} describes more tensors than any model has, so it was not read; fetch it again."


def _is_safetensors(head):
    return len(head) > 8 and head[8:9] == b"{" and _header_size(head) <= _HEADER_LIMIT


def _header_size(head):
    return struct.unpack("<Q", head[:8])[0]


def _read_safetensors(path, size, head):
    name = path.name
    if 8 + _header_size(head) > size:
        raise WeightsError(f"{name} is cut off inside its header ({size:,} bytes are there); fetch it again.")
    if _header_size(head) > _HEADER_READ:
        raise WeightsError(_too_many(name))
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            if len(file.keys()) > _TENSORS:
                raise WeightsError(_too_many(name))
            tensors = mapped_tensors(path, file)
            metadata = dict(file.metadata() or {})
    except WeightsError:
        raise
    # Which of its many errors a broken header or a type unknown to torch ends in is the library's business.
    except Exception as error:
        raise WeightsError(f"{name} is damaged or cut off ({size:,} bytes are there); fetch it again.") from error
    if not tensors:
        raise WeightsError(f"{name} holds no tensors; it is not a checkpoint, so choose another file.")
    return WeightFile(name, tensors, metadata)


def _read_pickle(path, size, is_zip):
    try:
        with path.open("rb") as file:  # of an open file, torch can't go by the name's ending
            check_claims(file, size, is_zip)
            return torch.load(file, map_location="cpu", weights_only=True)
    # A broken archive ends in nearly any error, depending on where it is broken and on torch's version.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError | RuntimeError) and _PROGRAM_CODE.search(str(error)):
            raise WeightsError(
                f"{path.name} holds program code besides weights, so it was not opened; use a .safetensors version "
                "of it."
            ) from error
        raise WeightsError(f"{path.name} is damaged or cut off ({size:,} bytes are there); fetch it again.") from error


def _flatten(content, name):
    """Nested dictionaries of tensors as one with dotted keys, in the file's order; other values are left out."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        beside = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
        content = beside | content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError(
            f"{name} holds a {type(content).__name__}, not a dictionary of weights; it is not a checkpoint, so choose "
            "another file."
        )
    tensors, pending, seen = {}, [("", content)], {id(content)}
    for prefix, level in pending:
        for key, value in level.items():
            if isinstance(value, dict):
                # A pickle may hold one dictionary many times, itself included: endless once it is flat.
                if id(value) in seen or len(prefix) > _PREFIX_LIMIT:
                    raise WeightsError(f"{name} is damaged: its dictionaries go round in circles; fetch it again.")
                seen.add(id(value))
                pending.append((f"{prefix}{key}.", value))
            elif isinstance(value, torch.Tensor):
                if not _is_whole(value):
                    raise WeightsError(
                        f"{name} is damaged: {quoted(prefix + str(key))} lacks numbers of its own; fetch it again."
                    )
                tensors[f"{prefix}{key}"] = value.detach()
    if not tensors:
        raise WeightsError(f"{name} holds no tensors; it is not a checkpoint, so choose another file.")
    return tensors


def _options(content):
    """What a training script noted of itself under `opts`, as text."""
    options = content.get("opts") if isinstance(content, dict) else None
    if not isinstance(options, dict):
        return {}
    return {str(key): str(value) for key, value in options.items() if isinstance(value, str | int | float)}


def _is_whole(tensor):
    """Whether every number of a tensor is in the file: a pickle may claim any shape over a few bytes, or over none."""
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
