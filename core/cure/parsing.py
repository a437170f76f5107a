"""Which classes of the face parser show an attribute; what shows what is data (vocabulary.json)."""

import re

from ..faces.regions.parser import CLASSES
from .attributes import VOCABULARY, Attribute

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_PLACES = VOCABULARY["place"]
_GROUPS = [group for groups in (*_PLACES.values(), VOCABULARY["found only where named"]) for group in groups]
_SHOWN = {word: group["regions"] for group in _GROUPS for word in group["words"]}


def classes_of(attribute: Attribute) -> tuple[int, ...]:
    """The numbers in faces.regions.parser.CLASSES that show an attribute, in any order; none if it has none for it.

    What decides is the noun at the phrase's end, then the category's first words. For an `absent` attribute too they
    are the classes that would show it.
    """
    words = _WORD.findall(attribute.text.lower())
    tails = (" ".join(words[first:]) for first in range(len(words)))
    names = next((_SHOWN[tail] for tail in tails if tail in _SHOWN), None)
    if names is None:
        names = _PLACES[attribute.category][0]["regions"] if attribute.category in _PLACES else ()
    return tuple(CLASSES.index(name) for name in names)
