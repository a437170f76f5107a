"""The attribute cure in plain torch: attributes, their masks, blended predictions, inversion."""

from ..prompt_text import plain_text
from .attributes import Attribute, find_attributes, named_attributes, without
from .settings import MODES, TRAJECTORIES, CureSettings

__all__ = [
    "MODES",
    "TRAJECTORIES",
    "Attribute",
    "CureSettings",
    "find_attributes",
    "named_attributes",
    "plain_text",
    "without",
]
