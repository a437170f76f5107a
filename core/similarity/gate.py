"""The likeness gate: which pictures of a batch are of the person, and a report that says why."""

import json
from dataclasses import dataclass

from .scores import percent


@dataclass(frozen=True)
class Verdict:
    """One image's result. `score` is the cosine of its most alike face, None when it has no face."""

    index: int
    faces: int
    score: float | None
    outcome: str  # "accepted", "rejected" or "skipped"


def judge(cosines: list[float], counts: tuple[int, ...], threshold: float, on_no_face: str) -> list[Verdict]:
    """Judge each image by its most alike face.

    `cosines` are those of all faces, image by image; `counts` the faces per image. An image without a face is left out
    of both heaps with "skip" and accepted unjudged with "passthrough".
    """
    verdicts, first = [], 0
    for index, count in enumerate(counts):
        own = cosines[first : first + count]
        first += count
        if own:
            score = max(own)
            outcome = "accepted" if score >= threshold else "rejected"
        else:
            score = None
            outcome = "accepted" if on_no_face == "passthrough" else "skipped"
        verdicts.append(Verdict(index, count, score, outcome))
    return verdicts


def best_of(verdicts: list[Verdict]) -> int | None:
    """Index of the image with the highest score, None when no image has a face."""
    scores = {verdict.index: verdict.score for verdict in verdicts if verdict.score is not None}
    return max(scores, key=scores.__getitem__) if scores else None


def label(verdict: Verdict, percentage: float | None) -> str:
    """One image's result in a line: its number from 0, the score, and the percentage where it is known."""
    if verdict.score is None:
        return f"#{verdict.index}  no face"
    return f"#{verdict.index}  {verdict.score:.3f}" + ("" if percentage is None else f"  {percentage:.0f} %")


def percentages(verdicts: list[Verdict], space: str, centralised: bool | str | None = None) -> list[float | None]:
    """The percentage of each image, None where none is known: no face, no calibration, or faces not judged alone."""
    alone = centralised is not True
    return [percent(one.score, space) if alone and one.score is not None else None for one in verdicts]


def report(verdicts: list[Verdict], space: str, threshold: float, centralised: bool | str | None = None) -> str:
    """The verdicts as JSON text: numbers of each image, counts, the best one and what the numbers are.

    `centralised` is whether the faces were moved towards each other before, or why not; None when nobody asked. A
    percentage is known for faces alone.
    """
    images = [
        {
            "image": verdict.index,
            "faces": verdict.faces,
            "score": None if verdict.score is None else round(verdict.score, 6),
            "percent": percentage,
            "outcome": verdict.outcome,
        }
        for verdict, percentage in zip(verdicts, percentages(verdicts, space, centralised), strict=True)
    ]
    outcomes = [verdict.outcome for verdict in verdicts]
    summary = {
        "encoder": space,
        "score": "cosine, -1 to 1",
        **({} if centralised is None else {"centralised": centralised}),
        "threshold": threshold,
        "accepted": outcomes.count("accepted"),
        "rejected": outcomes.count("rejected"),
        "skipped": outcomes.count("skipped"),
        "best": best_of(verdicts),
        "images": images,
    }
    return json.dumps(summary, indent=1)
