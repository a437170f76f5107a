"""The intact files that are damaged: every kind of encoder file, as narrow as it can be."""

import functools
import io

import descriptor_files
import onnx_files
import torch
from safetensors.torch import save

# what a file is loaded as, by kind: see trial.py
RECOGNISER, DETECTOR, DETAILS, WEIGHTS = "recogniser", "detector", "details", "weights"
GRAPHS = {
    "r50": ("r50", {"width": 8}, RECOGNISER),
    "r100": ("r100", {"width": 8}, RECOGNISER),
    "mbf": ("mbf", {"width": 4}, RECOGNISER),
    "sface": ("sface", {"width": 4}, RECOGNISER),
    "scrfd_500m": ("scrfd_500m", {"width": 4}, DETECTOR),
    "scrfd_10g": ("scrfd_10g", {"width": 4, "batched": True}, DETECTOR),
    "scrfd, one size": ("scrfd_500m", {"width": 4, "fixed": 320}, DETECTOR),
    "2d106det": ("2d106det", {"width": 4}, DETAILS),
    "1k3d68": ("1k3d68", {"width": 8}, DETAILS),
    "genderage": ("genderage", {"width": 4}, DETAILS),
}


@functools.cache
def graph(kind: str) -> bytes:
    """An `.onnx` file of GRAPHS."""
    name, variant, _ = GRAPHS[kind]
    return onnx_files.file(name, **variant).read_bytes()


def as_safetensors(tensors: dict[str, torch.Tensor]) -> bytes:
    """The bytes of a `.safetensors` file."""
    return save({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, {"format": "pt"})


def as_zip(content) -> bytes:
    """The bytes of a file as torch.save writes it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def as_old_pickle(content) -> bytes:
    """The bytes of a file as torch.save wrote it before version 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


CONTAINERS = {"safetensors": as_safetensors, "zip": as_zip, "old pickle": as_old_pickle}


@functools.cache
def state(kind: str) -> dict[str, torch.Tensor]:
    """A state dict of STATES, in half precision."""
    return STATES[kind]()


@functools.cache
def weights(kind: str, container: str) -> bytes:
    """A file of STATES and CONTAINERS."""
    return CONTAINERS[container](state(kind))


def _small():
    generator = torch.Generator().manual_seed(0)
    return {f"layer{number}.{part}": torch.randn(shape, generator=generator).half()
            for number in range(20) for part, shape in (("weight", (64, 64, 3, 3)), ("bias", (64,)))}  # fmt: skip


def _half(tensors):
    return {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
            if not key.startswith(("logits.", "head."))}  # fmt: skip


# the smallest network of each kind that there is; `small` is none, for damage that no network has to be read for
STATES = {
    "facenet": lambda: _half(descriptor_files.facenet()[1]),
    "adaface": lambda: _half(descriptor_files.adaface(18)[1]),
    "arcface": lambda: _half(descriptor_files.arcface((2, 2, 2, 2))[1]),
    "small": _small,
}
