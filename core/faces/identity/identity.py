"""An identity: what one person's photographs say about the face, as vectors of one encoder's space."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .centralise import ENOUGH, centralise

COMBINE = ("mean", "robust", "first", "quality", "centralised")
# space -> cosine at which two faces are as likely one person as two.
# dlib: scripts/face_pairs.py fits 0.939 on the labelled test photographs. facelets: facelets.verify_faces fits 0.53 to
# 0.58 on drawn portraits.
SAME_PERSON = {"dlib-resnet34-128": 0.94, "facelets-128": 0.55}
_SAME_PICTURE = 0.999
_LEAST_WEIGHT = 0.01  # of a face without any quality, so that a set of nothing but such faces is still their mean


@dataclass(frozen=True)
class Identity:
    """One person in one encoder's space.

    `vector` [D] is the combined, un-normalised embedding; `vectors` [N,D] the ones it came from; `scores` [N] their
    detection confidence, `quality` [N] how good each face was for it in 0..1 (`quality.Quality.weight`), None when
    nobody measured it. An identity of no faces has N = 0 and does nothing where it is applied.
    """

    space: str
    vector: torch.Tensor
    vectors: torch.Tensor
    scores: torch.Tensor
    combine: str
    quality: torch.Tensor | None = None

    @property
    def dim(self) -> int:
        return self.vector.shape[-1]

    @property
    def count(self) -> int:
        return self.vectors.shape[0]

    @property
    def is_empty(self) -> bool:
        return self.count == 0


def combine_identity(
    space: str, vectors: torch.Tensor, scores: torch.Tensor, combine: str, quality: torch.Tensor | None = None
) -> tuple[Identity, torch.Tensor]:
    """Make one identity of N embeddings [N,D], un-normalised.

    mean: their mean. first: the first alone. robust: the mean without those that disagree with the rest (see
    `outliers`). quality: their mean weighted by `quality` [N] in 0..1; the plain one without it. centralised: the
    mean of what `centralise` makes of them, which under 6 is the plain mean. Returns the identity, whose `combine` says
    how it was really made, and which embeddings went in, a bool tensor [N].
    """
    if (combine == "quality" and quality is None) or (combine == "centralised" and len(vectors) < ENOUGH):
        combine = "mean"
    kept = torch.ones(vectors.shape[0], dtype=torch.bool, device=vectors.device)
    if combine == "first":
        kept[1:] = False
    elif combine == "robust":
        kept = ~outliers(vectors, same_person(space))
    weights = kept.to(vectors.dtype)
    if combine == "quality" and quality is not None:
        weights = quality.to(vectors).clamp(_LEAST_WEIGHT, 1)
        vector = (weights @ vectors) / weights.sum().clamp(min=_LEAST_WEIGHT)
    else:
        parts = centralise(vectors) if combine == "centralised" else vectors
        vector = (weights @ parts) / weights.sum().clamp(min=1)
    return Identity(space, vector, vectors, scores, combine, quality), kept


def combine_embeds(rows: torch.Tensor, how: str) -> torch.Tensor:
    """Embeddings of several photographs [N,...] as one [1,...], by IPAdapter_plus's words.

    concat: left as they are [N,...]. add: their sum. subtract: the first less the mean of the rest. average: their
    mean. norm average: the mean of what is left of each when every number is divided by its length over the
    photographs.
    """
    if how == "concat" or len(rows) == 1:
        return rows
    if how == "add":
        return rows.sum(0, keepdim=True)
    if how == "subtract":
        return rows[:1] - rows[1:].mean(0, keepdim=True)
    if how == "norm average":
        rows = rows / rows.norm(dim=0, keepdim=True)
    return rows.mean(0, keepdim=True)


def same_person(space: str) -> float:
    """The cosine at which two faces of a space are as likely one person as two; where nobody knows, near 1."""
    return SAME_PERSON.get(space, _SAME_PICTURE)


def agreement(vectors: torch.Tensor) -> torch.Tensor:
    """Mean cosine of each embedding [N,D] to the others -> [N]; 1 where there is no other."""
    count = vectors.shape[0]
    if count < 2:
        return torch.ones(count, dtype=vectors.dtype, device=vectors.device)
    unit = F.normalize(vectors, dim=-1)
    return ((unit @ unit.T).sum(dim=1) - 1) / (count - 1)


def outliers(vectors: torch.Tensor, same_person: float) -> torch.Tensor:
    """Embeddings [N,D] that don't belong -> bool [N].

    The centre is the embedding with the highest median cosine to the others, which a minority of strangers cannot move.
    An embedding is out when its distance 1 - cosine to that centre is over twice the median distance, and its cosine
    under `same_person`: two shots of one moment are so close to each other that everything else looks far from them.
    With fewer than three there is no majority to belong to.
    """
    count = vectors.shape[0]
    if count < 3:
        return torch.zeros(count, dtype=torch.bool, device=vectors.device)
    unit = F.normalize(vectors, dim=-1)
    distances = 1 - unit @ unit.T
    typical = distances.sort(dim=1).values[:, 1:].median(dim=1).values  # sorted, the distance to itself comes first
    centre = typical.argmin().view(1)
    return distances.index_select(0, centre)[0] > (2 * typical.index_select(0, centre)).clamp(min=1 - same_person)
