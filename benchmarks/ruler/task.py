"""What is asked: people that no training saw, prompts that contradict how they look, and poses to take."""

from dataclasses import dataclass, replace

import numpy as np
from facelets.world import (
    LOOKS,
    Identity,
    Look,
    Portrait,
    caption,
    draw,
    sample_identity,
    sample_look,
    sample_pose,
)

SEED = 30_000_001  # far from those of the trainings
# Numbers of people. A person's look, prompts, poses and noise follow from the number alone, so the two ranges share
# nothing. Settings are chosen on the first; what is claimed is measured on the second, which no choice may look at.
TUNING = range(0, 1000)
UNSEEN = range(1000, 2000)
_PLAIN = ("flat", "simple")  # names of the plain style, which a caption may leave out
# What a prompt names in one breath ("long red hair"), by the attributes that may be in it.
PHRASES = (
    ("hair_length", "hair_curl", "hair_color"), ("hat", "hat_color"), ("glasses",), ("facial_hair",), ("earrings",),
    ("eye_color",), ("expression",),
)  # fmt: skip
# In more phrases some people cannot be contradicted by things to be seen alone: the search would not end.
MOST_PHRASES = 5
_ABSENT = ("none", "bald", "neutral")


@dataclass(frozen=True)
class Person:
    """Somebody, and the one portrait that the adapter is shown."""

    identity: Identity
    look: Look
    reference: Portrait


@dataclass(frozen=True)
class Case:
    """One picture to make of one person. `asked` is what the prompt names, `reference` what the person's portrait shows
    of the same attributes, `drawing` what a perfect generator would make of it."""

    person: int
    prompt: int
    phrases: int | None
    text: str
    asked: dict[str, str]
    reference: dict[str, str]
    drawing: Portrait

    @property
    def seed(self) -> int:
        """For the noise: the same under every condition."""
        return 1000 * self.person + 100 * (self.phrases or 0) + self.prompt


def words(look: Look) -> dict[str, str]:
    """What a portrait with this look shows, as {attribute: value}."""
    return {name: getattr(look, name) for name in LOOKS if look.says(name)}


def people(first: int, count: int, tune: bool) -> tuple[range, range]:
    """Numbers of `count` people from the `first` of their range on, and of all up to the last of them, with whose
    references their pictures are compared."""
    side = TUNING if tune else UNSEEN
    return side[first : first + count], side[: first + count]


def person(number: int) -> Person:
    """The same number gives the same person."""
    rng = np.random.default_rng([SEED, number])
    identity, look = sample_identity(rng), sample_look(rng)
    return Person(identity, look, draw(identity, look, sample_pose(rng)))


def contradiction(look: Look, rng: np.random.Generator) -> Look:
    """A look that differs from `look` in every attribute, each as likely as it is among all looks."""
    other = {}
    for name in LOOKS:
        value = getattr(look, name)
        while value == getattr(look, name):
            value = getattr(sample_look(rng), name)
        other[name] = value
    return Look(**other, parting=rng.uniform(-1, 1), clothes=rng.uniform())


def partial_contradiction(look: Look, rng: np.random.Generator, phrases: int) -> tuple[Look, frozenset[str]]:
    """A look that differs from `look` in so many phrases, none of them of something absent, and the attributes that
    they name."""
    while True:
        other, named = contradiction(look, rng), set()
        for phrase in rng.permutation(len(PHRASES))[:phrases]:
            named.update(_words_of(PHRASES[phrase], look, rng))
        changed = replace(look, **{name: getattr(other, name) for name in named})
        if all(changed.says(name) and getattr(changed, name) not in _ABSENT for name in named):
            return changed, frozenset(named)


def _words_of(phrase, look, rng):
    """The attributes that one phrase names: some about the hair, and its length on a bald head."""
    if phrase[0] != "hair_length":
        return phrase
    some = rng.permutation(phrase)[: rng.integers(1, 4)]
    return some if look.hair_length != "bald" else {*some, "hair_length"}


def case(whom: Person, number: int, prompt: int, phrases: int | None = None) -> Case:
    """Prompt number `prompt` for person number `number`.

    It contradicts the reference in everything and names everything, absent things too ("no hat"); or it names so many
    `phrases` alone, each a contradiction, and what it leaves out is as in the reference.
    """
    if phrases is None:
        rng = np.random.default_rng([SEED, number, prompt + 1])
        look, pose = contradiction(whom.look, rng), sample_pose(rng)
        text = caption(look, rng, keep=1.0, absent=1.0)
        asked = words(look)
        if look.style == "flat" and not any(name in text for name in _PLAIN):
            del asked["style"]
    else:
        rng = np.random.default_rng([SEED, number, prompt + 1, phrases])
        (look, named), pose = partial_contradiction(whom.look, rng, phrases), sample_pose(rng)
        text = caption(look, rng, only=named)
        asked = {name: getattr(look, name) for name in LOOKS if name in named}
    reference = {name: value for name, value in words(whom.look).items() if name in asked}
    return Case(number, prompt, phrases, text, asked, reference, draw(whom.identity, look, pose, labelled=True))
