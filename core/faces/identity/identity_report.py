"""What an artist reads about the photographs behind an identity."""

from dataclasses import dataclass

from .centralise import ENOUGH
from .identity import SAME_PERSON

_PARTS = ("size", "sharpness", "light", "frontality")
# part -> (below which it is worth a word, the word). Frontality is a cosine: 0.75 is a turn by 41 degrees.
_WEAK = {
    "score": (0.75, "uncertain"),
    "size": (0.6, "small"),
    "sharpness": (0.6, "blurred"),
    "light": (0.6, "dark or flat"),
    "frontality": (0.75, "turned away"),
}


@dataclass(frozen=True)
class Reference:
    """One face of one photograph as numbers: see `quality.Quality` for its parts and `identity` for the rest."""

    photograph: int
    agreement: float
    parts: dict[str, float]
    weight: float
    used: bool
    stranger: bool


def identity_report(references: list[Reference], photographs: int, space: str, wanted: str, made: str) -> str:
    """Text: a line on the whole, then one for each face.

    `wanted` is the way to combine that was asked for, `made` the one that was taken.
    """
    used = sum(reference.used for reference in references)
    text = f"Identity from {used} of {len(references)} faces in {photographs} photographs, encoder {space}."
    if len(references) > 1:
        average = sum(reference.agreement for reference in references) / len(references)
        text += f" Agreement among the faces: {average:.2f}."
        if len(references) == 2 and average < SAME_PERSON.get(space, -1):
            text += " The two look like two people."
    if wanted == "centralised" != made:
        text += f" Centralising needs {ENOUGH} faces, so this is the plain mean."
    numbers = [reference.photograph for reference in references]
    lines = [text]
    for place, reference in enumerate(references):
        name = f"Photograph {reference.photograph + 1}"
        if numbers.count(reference.photograph) > 1:
            name += f", face {place - numbers.index(reference.photograph)}"
        lines.append(f"{name}: {_about(reference, len(references) > 1, made)}.")
    return "\n".join(lines)


def _about(reference, has_others, made):
    parts = reference.parts
    text = f"face found with confidence {parts['score']:.2f}"
    if has_others:
        text += f", agrees with the others {reference.agreement:.2f}"
    numbers = ", ".join(f"{part} {parts[part]:.2f}" for part in _PARTS)
    text += f", quality {reference.weight:.2f}, {in_words(parts)} ({numbers})"
    if reference.stranger:
        text += ", left out: looks like somebody else" if made == "robust" else (
            "; looks like somebody else: take it out, or set combine to robust"
        )  # fmt: skip
    return text if reference.used or reference.stranger else text + ", not used"


def in_words(parts: dict[str, float]) -> str:
    """What is weak about a face in plain words, such as "small and blurred", or "good"."""
    words = [word for part, (least, word) in _WEAK.items() if parts[part] < least]
    if len(words) < 2:
        return words[0] if words else "good"
    return ", ".join(words[:-1]) + " and " + words[-1]
