"""What makes a drawn person this person: traits that no prompt names."""

from dataclasses import astuple, dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Identity:
    """A person as traits in -1..1; 0 is the average face."""

    skin_depth: float
    skin_warmth: float
    face_width: float
    face_length: float
    jaw_width: float
    chin_squareness: float
    cheek_fullness: float
    hairline: float
    eye_spacing: float
    eye_height: float
    eye_size: float
    eye_openness: float
    eye_tilt: float
    brow_thickness: float
    brow_arch: float
    brow_height: float
    brow_slant: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    mouth_width: float
    mouth_height: float
    lip_fullness: float
    lip_redness: float
    ear_size: float
    ear_angle: float
    neck_width: float
    blush: float
    freckles: float
    mole: float
    mole_across: float
    mole_down: float

    @property
    def vector(self) -> np.ndarray:
        """All traits as float32 [len(TRAITS)], in the order of TRAITS."""
        return np.asarray(astuple(self), np.float32)


TRAITS = tuple(field.name for field in fields(Identity))


def sample_identity(rng: np.random.Generator) -> Identity:
    """A person with every trait drawn evenly from -1..1."""
    return Identity(*rng.uniform(-1, 1, len(TRAITS)).tolist())
