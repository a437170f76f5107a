"""What is asked: people that no training saw, prompts that contradict how they look, and poses to take."""

from dataclasses import dataclass

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
_PLAIN = ("flat", "simple")  # names of the plain style, which a caption may leave out


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
    text: str
    asked: dict[str, str]
    reference: dict[str, str]
    drawing: Portrait

    @property
    def seed(self) -> int:
        """For the noise: the same under every condition."""
        return 1000 * self.person + self.prompt


def words(look: Look) -> dict[str, str]:
    """What a portrait with this look shows, as {attribute: value}."""
    return {name: getattr(look, name) for name in LOOKS if look.says(name)}


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


def case(whom: Person, number: int, prompt: int) -> Case:
    """Prompt number `prompt` for person number `number`: it names everything, absent things too ("no hat")."""
    rng = np.random.default_rng([SEED, number, prompt + 1])
    look, pose = contradiction(whom.look, rng), sample_pose(rng)
    text = caption(look, rng, keep=1.0, absent=1.0)
    asked = words(look)
    if look.style == "flat" and not any(name in text for name in _PLAIN):
        del asked["style"]
    reference = {name: value for name, value in words(whom.look).items() if name in asked}
    return Case(number, prompt, text, asked, reference, draw(whom.identity, look, pose))
