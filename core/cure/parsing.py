"""Which classes of the face parser show an attribute."""

import re

from ..faces.regions.parser import CLASSES
from .attributes import Attribute

_LIPS, _EYES, _BROWS, _EARS = ("u_lip", "l_lip"), ("l_eye", "r_eye"), ("l_brow", "r_brow"), ("l_ear", "r_ear")

# By the vocabulary's categories. Freckles, beards and masks have no class of their own: the parser takes them for skin
# or for whatever else is near.
CATEGORIES = {
    "hair": ("hair",),
    "eyes": _EYES,
    "glasses": ("eye_g",),
    "hat": ("hat",),
    "jewellery": ("ear_r", "neck_l"),
    "facial hair": (),
    "make-up": _EYES + _LIPS,
    "mask": (),
    "skin": (),
    "neck": ("cloth",),  # what is worn there; the parser's own "neck" is bare
    "clothes": ("cloth",),
    "background": ("background",),
}

# Nouns that are shown elsewhere than their category, or nowhere.
NOUNS = {
    **dict.fromkeys(("bald", "bald head", "shaved head"), ()),
    **dict.fromkeys(("eyebrow", "eyebrows", "brows"), _BROWS),
    **dict.fromkeys(("eyepatch", "eye patch"), ()),
    **dict.fromkeys(("earring", "earrings"), ("ear_r",)),
    **dict.fromkeys(("necklace", "pendant", "choker"), ("neck_l",)),
    **dict.fromkeys(("piercing", "piercings", "nose ring", "hairpin", "hair clip", "barrette", "brooch"), ()),
    **dict.fromkeys(("lips", "lipstick", "lip gloss"), _LIPS),
    **dict.fromkeys(("eyeliner", "eyeshadow", "eye shadow", "mascara"), _EYES),
    **dict.fromkeys(("blush", "rouge", "face paint", "war paint", "nail polish"), ()),
    "ribbon": (),
}

# Nouns that the vocabulary doesn't have, for attributes that the artist names.
NAMED = {
    "nose": ("nose",),
    "mouth": ("mouth", *_LIPS),
    "teeth": ("mouth",),
    **dict.fromkeys(("ear", "ears"), _EARS),
    "neck": ("neck",),
    "skin": ("skin",),
}

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def classes_of(attribute: Attribute) -> tuple[int, ...]:
    """The numbers in faces.parser.CLASSES that show an attribute, in any order; none if the parser knows nothing of it.

    What decides is the noun at the phrase's end, then the category. For an `absent` attribute too they are the classes
    that would show it.
    """
    words = _WORD.findall(attribute.text.lower())
    tails = (" ".join(words[first:]) for first in range(len(words)))
    names = next(((NOUNS | NAMED)[tail] for tail in tails if tail in NOUNS or tail in NAMED), None)
    if names is None:
        names = CATEGORIES.get(attribute.category, ())
    return tuple(CLASSES.index(name) for name in names)
