"""How alike two faces are: the cosine, and what it means in percent for a given encoder."""

import math

import torch
import torch.nn.functional as F

from ..faces.identity.identity import SAME_PERSON, Identity

# space -> slope of the logistic that turns a cosine into the percentage "same person"; SAME_PERSON is its midpoint.
# dlib: scripts/face_pairs.py fits 189 on the labelled test photographs. They hold few people, and their two kinds of
# pairs don't overlap, so the fit is steeper than the world and is softened here. facelets: facelets.verify_faces.
_SLOPES = {"dlib-resnet34-128": 100.0, "facelets-128": 19.0}


def cosines(identity: Identity, space: str, vectors: torch.Tensor) -> torch.Tensor:
    """Cosine in -1..1 of each embedding [N,D] to an identity -> [N]; ValueError when their spaces differ."""
    if identity.space != space:
        raise ValueError(
            f"The identity was made by {identity.space}, but face_encoder is {space}: scores across encoders mean "
            "nothing; use the same encoder for both."
        )
    return F.cosine_similarity(vectors, identity.vector.to(vectors).unsqueeze(0), dim=-1)


def percent(cosine: float, space: str) -> float | None:
    """The chance in percent that it is the same person, None for an encoder that has not been calibrated."""
    if space not in _SLOPES:
        return None
    return round(100 / (1 + math.exp(-_SLOPES[space] * (cosine - SAME_PERSON[space]))), 1)
