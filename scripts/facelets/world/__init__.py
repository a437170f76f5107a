"""Drawn portraits: who (Identity), what a prompt says (Look), where the head is (Pose), and the picture of it all."""

from .captions import caption
from .identity import TRAITS, Identity, sample_identity
from .look import LOOKS, Look, sample_look
from .portrait import REGIONS, Portrait, draw
from .pose import Pose, sample_pose

__all__ = [
    "LOOKS", "REGIONS", "TRAITS", "Identity", "Look", "Portrait", "Pose",
    "caption", "draw", "sample_identity", "sample_look", "sample_pose",
]  # fmt: skip
