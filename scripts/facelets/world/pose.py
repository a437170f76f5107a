"""Where the head is in the picture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pose:
    """x, y: centre of the head as parts of the picture's side; scale: 1 is a head of about two thirds of the picture's
    height without hair; roll: radians, positive turns clockwise; yaw: radians, positive turns the nose to the right."""

    x: float = 0.5
    y: float = 0.53
    scale: float = 1.0
    roll: float = 0.0
    yaw: float = 0.0


def sample_pose(rng: np.random.Generator) -> Pose:
    """A pose that keeps the whole face inside the picture."""
    return Pose(
        x=rng.uniform(0.42, 0.58),
        y=rng.uniform(0.49, 0.58),
        scale=rng.uniform(0.82, 1.1),
        roll=float(np.clip(rng.normal(0, 0.14), -0.35, 0.35)),
        yaw=rng.uniform(-0.4, 0.4),
    )
