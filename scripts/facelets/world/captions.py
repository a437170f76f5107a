"""Captions in plain English, from a full description down to two words."""

import re
from collections.abc import Collection

import numpy as np

from .look import Look

_SUBJECTS = (
    "a {style}portrait of a person", "a {style}portrait", "{style}portrait", "a {style}drawing of a person",
    "a person, {style}portrait", "portrait of someone, {style}drawing", "a {style}picture of a face",
)  # fmt: skip
_STYLES = {"flat": ("", "flat ", "simple "), "ink": ("ink ", "inked "), "pastel": ("pastel ", "soft pastel ")}
_HATS = {"hat": ("a {color} hat", "wearing a {color} hat"), "beanie": ("a {color} beanie", "wearing a {color} beanie")}
_GLASSES = {
    "none": ("no glasses", "without glasses"),
    "glasses": ("glasses", "wearing glasses", "with glasses"),
    "sunglasses": ("sunglasses", "wearing sunglasses", "dark sunglasses"),
}
_FACIAL_HAIR = {
    "none": ("clean-shaven", "no beard"),
    "beard": ("a beard", "with a beard", "bearded"),
    "moustache": ("a moustache", "with a moustache"),
}
_EARRINGS = {"none": ("no earrings",), "earrings": ("earrings", "wearing earrings", "gold earrings")}
_EXPRESSIONS = {
    "neutral": ("neutral", "neutral expression", "serious"),
    "smiling": ("smiling", "a smiling face", "with a smile"),
    "laughing": ("laughing", "laughing out loud"),
    "sad": ("sad", "a sad face", "looking sad"),
    "surprised": ("surprised", "looking surprised"),
}
_BACKGROUNDS = ("{} background", "on a {} background", "in front of a {} wall")
# Words that add nothing, so that the models learn to read past them.
_FILLERS = ("best quality", "detailed", "beautiful", "a nice day", "illustration", "close-up", "looking at the viewer")


def caption(
    look: Look, rng: np.random.Generator, keep: float = 0.75, absent: float = 0.12, only: Collection[str] | None = None
) -> str:
    """One sentence about a look; each attribute is named with probability `keep`, and what is not there (no hat, no
    glasses, ...) with probability `absent`. keep=1 names everything that the picture shows; keep=0 is a bare one. With
    `only`, these attributes are named and no others."""

    def pick(options):
        return options[rng.integers(len(options))]

    def named(attribute, is_there=True):
        chance = rng.uniform()
        return chance < (keep if is_there else min(absent, keep)) if only is None else attribute in only

    parts = []
    if look.hair_length == "bald":
        if named("hair_length"):
            parts.append(pick(("bald", "with a bald head", "no hair")))
    else:
        words = [getattr(look, name) for name in ("hair_length", "hair_curl", "hair_color") if named(name)]
        if words:
            parts.append(pick(("{} hair", "with {} hair")).format(" ".join(words)))
    if look.hat == "none":
        if named("hat", False):
            parts.append(pick(("no hat", "without a hat")))
    elif named("hat"):
        color = look.hat_color if named("hat_color") else ""
        parts.append(" ".join(pick(_HATS[look.hat]).format(color=color).split()))
    for name, words in (("glasses", _GLASSES), ("facial_hair", _FACIAL_HAIR), ("earrings", _EARRINGS)):
        value = getattr(look, name)
        if named(name, value != "none"):
            parts.append(pick(words[value]))
    if look.says("eye_color") and named("eye_color"):
        parts.append(pick(("{} eyes", "with {} eyes")).format(look.eye_color))
    if named("expression"):
        parts.append(pick(_EXPRESSIONS[look.expression]))
    if named("background"):
        parts.append(pick(_BACKGROUNDS).format(look.background))
    if keep and rng.uniform() < 0.15:
        parts.append(pick(_FILLERS))
    rng.shuffle(parts)
    subject = pick(_SUBJECTS).format(style=pick(_STYLES[look.style]) if named("style") else "")
    return re.sub(r"\ba (?=[aeiou])", "an ", ", ".join([subject, *parts]))  # "an orange wall", "an ink drawing"
