"""What adapters put behind a face, and do with the face, before they look at it."""

from collections.abc import Callable

from torch import Tensor

from .parser import CLASSES

# Classes of the face parser that PuLID leaves out, and those that MasterWeaver does, which keeps the hair.
_OUTSIDE = ("background", "l_ear", "r_ear", "ear_r", "neck", "neck_l", "cloth", "hat")
_OUTSIDE_FACE = ("background", "neck", "neck_l", "cloth", "hat")
_LUMINANCE = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601


def grey(crops: Tensor, labels: Tensor) -> Tensor:
    """PuLID's: the face and the hair in grey on white. crops [N,3,S,S] RGB in 0..1, labels [N,S,S] -> [N,3,S,S]."""
    shades = (crops * crops.new_tensor(_LUMINANCE)[:, None, None]).sum(1, keepdim=True).expand_as(crops)
    return shades.masked_fill(_is_one_of(labels, _OUTSIDE), 1.0)


def face_only(crops: Tensor, labels: Tensor) -> Tensor:
    """MasterWeaver's: the head without what it wears, on black. Shapes as for `grey`."""
    return crops.masked_fill(_is_one_of(labels, _OUTSIDE_FACE), 0.0)


def _is_one_of(labels, names):
    """[N,1,S,S], without a list of numbers that would have to go to the device."""
    return sum((labels == CLASSES.index(name) for name in names[1:]), labels == CLASSES.index(names[0]))[:, None]


# Name in a Look -> what makes it of crops and their classes, by the numbers of parser.CLASSES.
BACKDROPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"grey": grey, "face only": face_only}
