"""Safe reading of weight files, and telling what a file is from its keys."""

from .fill import fill, finite, fitting
from .reader import WeightFile, WeightsError, read_weights, shown
from .recognise import kind_of, unwrapped

__all__ = ["WeightFile", "WeightsError", "fill", "finite", "fitting", "kind_of", "read_weights", "shown", "unwrapped"]
