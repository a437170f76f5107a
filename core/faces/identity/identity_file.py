"""Identities as safetensors files: vectors and what is known about them, no photograph."""

import json
from pathlib import Path

import safetensors.torch
import torch

from ...weights import WeightsError, kind_of, read_weights
from .identity import COMBINE, Identity

FORMAT = "likeness.identity.1"


def save_identity(identity: Identity, path: Path) -> None:
    """Write a new file, the same bytes for the same identity; it appears whole or not at all.

    FileExistsError where there is one of that name, or another process is about to write it; OSError where it can't be
    written.
    """
    names = ("vector", "vectors", "scores") + (("quality",) if identity.quality is not None else ())
    tensors = {name: getattr(identity, name).detach().float() for name in names}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}  # host read: a file
    metadata = {
        "format": FORMAT,
        "encoder": identity.space,
        "dim": str(identity.dim),
        "count": str(identity.count),
        "combine": identity.combine,
    }
    for name in names[2:]:
        metadata[name] = ", ".join(f"{value:.3f}" for value in tensors[name].tolist())  # host read: a file
    content = _in_order(safetensors.torch.save(tensors, metadata=metadata))
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.open("xb").close()  # whoever makes this file has the name
    try:
        if path.exists():
            raise FileExistsError(f"{path} is there already")
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its header sorted: the library writes metadata in another order every time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def load_identity(path: Path) -> Identity:
    """Read an identity file; WeightsError with one sentence when it is something else or damaged."""
    file = read_weights(path)
    metadata, tensors = file.metadata, file.tensors
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{file.name} is {kind_of(tensors)}, not an identity saved by SaveIdentity; choose one that is."
        )
    missing = torch.zeros(())  # of a shape that none of the tensors has
    vector, vectors, scores = (tensors.get(name, missing) for name in ("vector", "vectors", "scores"))
    quality = tensors.get("quality", scores)  # files from before faces had a quality lack it
    whole = (
        all(isinstance(t, torch.Tensor) and t.dtype == torch.float32 for t in (vector, vectors, scores, quality))
        and (vector.ndim, vectors.ndim, scores.ndim) == (1, 2, 1)
        and vectors.shape == (len(scores), len(vector))
        and quality.shape == scores.shape
        and 0 not in vectors.shape
        and metadata.get("encoder")
        and metadata.get("combine") in COMBINE
        and all(bool(t.isfinite().all()) for t in (vector, vectors, scores, quality))
    )
    if not whole:
        raise WeightsError(
            f"{file.name} is damaged: its vectors and its description don't fit together; save the identity again."
        )
    # Copies: tensors mapped from the file would change, or end the process, when somebody overwrites it.
    return Identity(
        metadata["encoder"], vector.clone(), vectors.clone(), scores.clone(), metadata["combine"],
        quality.clone() if "quality" in tensors else None,
    )  # fmt: skip
