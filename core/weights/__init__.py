"""Safe reading of weight files, and telling what a file is from its keys."""

from .reader import WeightFile, WeightsError, read_weights
from .recognise import kind_of

__all__ = ["WeightFile", "WeightsError", "kind_of", "read_weights"]
