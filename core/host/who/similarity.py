"""Likeness scores for the nodes."""

from dataclasses import dataclass

import torch

from ...faces.identity.centralise import ENOUGH, centralise
from ...faces.identity.identity import Identity
from ...similarity import MOST, best_of, contact_sheet, cosines, judge, percentages, report, score_plot
from ..comfyui.images import as_image
from ..faces.detection import choose_faces
from ..faces.encoder import LoadedEncoder
from .identity import encode_identity


@dataclass(frozen=True)
class Comparison:
    """A judged batch; image batches may be empty. `preview` are the contact sheet and, of many pictures, a plot."""

    accepted: torch.Tensor
    rejected: torch.Tensor
    best: torch.Tensor
    scores: list[float]
    report: str
    preview: list[torch.Tensor]


def compare(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    identity: Identity | None,
    reference: torch.Tensor | None,
    threshold: float,
    on_no_face: str,
    centralised: bool = False,
) -> Comparison:
    """Judge a batch against an identity, or against photographs of the person. An empty heap is no error.

    With `centralised` the faces of the batch move towards those most like them first, if there are enough.
    """
    if identity is None and reference is not None:
        # Photographs without a face may be left out, but not all of them: see below.
        policy = "error" if on_no_face == "error" else "passthrough"
        identity, _ = encode_identity(encoder, reference, "mean", "0", policy, what="reference")
    elif identity is None or reference is not None:
        raise ValueError("IDSimilarity compares with one person: connect either identity or reference.")
    if identity.is_empty:
        raise ValueError(
            "There is nobody to compare with, because no photograph of the person has a face in it; connect an "
            "identity or a reference with a face."
        )
    faces = choose_faces(encoder, image, "largest", "all", on_no_face)
    vectors = encoder.embed(image, faces)
    done = None
    if centralised:
        vectors = centralise(vectors)
        done = len(vectors) >= ENOUGH or f"no: {len(vectors)} faces, and {ENOUGH} are needed"
    values = cosines(identity, encoder.space, vectors).tolist()  # host read: scores are numbers and text
    verdicts = judge(values, faces.counts, threshold, on_no_face)

    def heap(outcome):
        return image[[verdict.index for verdict in verdicts if verdict.outcome == outcome]]

    best = best_of(verdicts)
    return Comparison(
        accepted=heap("accepted"),
        rejected=heap("rejected"),
        best=image[[]] if best is None else image[[best]],
        scores=[verdict.score for verdict in verdicts if verdict.score is not None],
        report=report(verdicts, encoder.space, threshold, done),
        preview=_preview(image, verdicts, percentages(verdicts, encoder.space, done), threshold),
    )


def _preview(image, verdicts, percents, threshold):
    sheet = contact_sheet(as_image(image), verdicts, percents, threshold)
    return [sheet, score_plot(verdicts, threshold)] if len(verdicts) > MOST else [sheet]
