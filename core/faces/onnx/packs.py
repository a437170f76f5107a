"""InsightFace packs: what the `.onnx` files of a folder are, and the descriptor that is among them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ...layer_types import Dtype, Operations
from ...weights import WeightsError
from ...weights.onnx_file import OnnxModel, read_onnx
from ..describe.descriptors import Descriptor
from .onnx_embedder import arcface_alignment, load_embedder
from .onnx_roles import ATTRIBUTES, DETECTOR, EMBEDDER, LANDMARKS, OTHER, role_of

_IN_WORDS = {
    DETECTOR: "a face detector",
    EMBEDDER: "a recogniser",
    LANDMARKS: "landmarks",
    ATTRIBUTES: "gender and age",
    OTHER: "something else",
}


@dataclass
class Pack:
    """The models of a folder by role, the first of each in the order of their names; `problems` of unreadable files."""

    name: str
    models: dict[str, list[OnnxModel]] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    problems: list[WeightsError] = field(default_factory=list)

    def first(self, role: str) -> OnnxModel | None:
        """The model for a role, None when the pack has none."""
        return next(iter(self.models.get(role, [])), None)

    def needed(self, role: str, advice: str) -> OnnxModel:
        """The model for a role; WeightsError that says what is there instead, or which file can't be read."""
        model = self.first(role)
        if model is not None:
            return model
        if self.problems:
            raise self.problems[0]
        found = ", ".join(f"{model.name} ({_IN_WORDS[kind]})" for kind, models in self.models.items()
                          for model in models) or "no .onnx file"  # fmt: skip
        raise WeightsError(f"The pack {self.name} has no {_IN_WORDS[role][2:]}; {advice}. Found: {found}.")


def read_pack(name: str, paths: Sequence[Path]) -> Pack:
    """Read all `.onnx` files of a pack; a file that can't be read is a problem only if it turns out to be needed."""
    pack = Pack(name)
    for path in sorted(paths, key=lambda path: path.name):
        try:
            model = read_onnx(path)
        except WeightsError as error:
            logging.warning("Likeness: %s", error)
            pack.problems.append(error)
        else:
            pack.models.setdefault(role_of(model), []).append(model)
            pack.paths[model.name] = path
    return pack


def load_pack_descriptor(pack: Pack, dtype: Dtype = None, operations: Operations = nn) -> tuple[Descriptor, Path]:
    """A pack's recogniser and its file; WeightsError with one sentence when there is none that can be used."""
    model = pack.needed(EMBEDDER, "add the pack's recogniser, such as w600k_r50.onnx or glintr100.onnx")
    embedder = load_embedder(model, dtype=dtype, operations=operations)
    advice = "put it into models/face_encoders with a description"
    alignment = arcface_alignment(model.name, embedder.size, advice)
    kind = pack.name.rpartition("/")[2]
    return Descriptor(embedder, kind, embedder.dim, alignment), pack.paths[model.name]
