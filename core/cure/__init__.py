"""The attribute cure in plain torch: attributes, their masks, blended predictions, inversion."""

from .attributes import Attribute, find_attributes, leave_out, named_attributes
from .modes import MODES, TRAJECTORIES, Mode

__all__ = [
    "MODES",
    "TRAJECTORIES",
    "Attribute",
    "Mode",
    "find_attributes",
    "leave_out",
    "named_attributes",
]
