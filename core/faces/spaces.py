"""Which space a descriptor's vectors live in: the same weights make the same space, whatever the file is called.

Fingerprints are the SHA-256 of the published files, as public repositories that pin them give it.
"""

_KNOWN = {
    "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf": "antelopev2-glintr100",
    "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43": "buffalo_l-w600k_r50",
    "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f": "buffalo_s-w600k_mbf",
    "a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28": "arcface-ir-se50",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79": "sface-2021dec",
}
# What LoadFaceEncoder lists them as.
LISTED = {
    "antelopev2-glintr100": "insightface/antelopev2",
    "buffalo_l-w600k_r50": "insightface/buffalo_l",
    "arcface-ir-se50": "face_encoders/recognition_arcface_ir_se50.pth",
}
_SHORT = 8  # hexadecimal digits of a digest that tell two files of one name apart


def space_of(digest: str, name: str) -> str:
    """The name of a space: a published file's own, otherwise the given name and the start of the digest."""
    return _KNOWN.get(digest) or f"{name}:{digest[:_SHORT]}"


def is_space(space: str, wanted: str) -> bool:
    """Whether a space is the wanted one, or is called so: another export of the same weights has its own digest.

    A file that is none of the published ones is believed what its folder and its name say. A kind of encoder, such as
    "e4e" or "arcface-ir-se50", is wanted where all files of that kind speak one language.
    """
    name = space.partition(":")[0]
    return wanted in (space, name) or name.startswith(f"{wanted}-")
