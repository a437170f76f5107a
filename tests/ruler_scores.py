"""Scores of pictures for tests of the ruler."""

from dataclasses import replace

from ruler.figures import Score

SCORE = Score(
    condition="base", person=0, prompt=0, phrases=None, seed=0, text="a portrait, red hair, no hat",
    asked={"hair_color": "red", "hat": "none", "glasses": "glasses"}, reference={"hair_color": "blue", "hat": "beanie"},
    read={"hair_color": "blue", "hat": "none", "glasses": "glasses", "eye_color": "brown"}, traits=0.5,
    traits_read={"mole": 0.25, "blush": -1.0}, traits_true={"mole": 0.5, "blush": -0.5}, found=True, right=0.75,
    wrong=(0.25, 0.5), landmarks=3.0, judged_landmarks=4.0, apart=12.0, seconds=0.5,
)  # fmt: skip
CURVES = {"ill-0.8+control": (0.6, 0.5), "faint-0.4+control": (0.5, 0.75), "cure-1.0": (0.57, 0.75)}


def scored(condition, person, right, kept, phrases=1):
    """A picture with this cosine and this share of its four words."""
    asked = {name: "asked" for name in ("hair_color", "hat", "glasses", "earrings")}
    read = {name: "asked" if number < 4 * kept else "other" for number, name in enumerate(asked)}
    return replace(
        SCORE, condition=condition, person=person, right=right, asked=asked, read=read, reference={}, phrases=phrases
    )


def traded(curves=CURVES, persons=4):
    """Pictures of prompts of one and two attributes: everybody keeps as much of the prompt, and likeness varies."""
    return [
        scored(name, person, right + 0.01 * person, kept, phrases)
        for name, (right, kept) in {"base": (0.0, 1.0), **curves}.items()
        for person in range(persons)
        for phrases in (1, 2)
    ]
