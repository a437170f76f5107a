"""Safe reading of weight files, and telling what a file is from its keys."""

from .fill import fill, finite, fitting
from .reader import WeightFile, WeightsError, read_weights
from .recognise import CLIP_WIDTHS, is_bare_ir101, is_infiniteyou, is_of_no_use, kind_of, known_kind, unwrapped

__all__ = [
    "CLIP_WIDTHS", "WeightFile", "WeightsError", "fill", "finite", "fitting", "is_bare_ir101", "is_infiniteyou",
    "is_of_no_use", "kind_of", "known_kind", "read_weights", "unwrapped",
]  # fmt: skip
