"""What to do about a picture without a face: one decision, the same wherever a face is looked for."""

ON_NO_FACE = ("error", "skip", "passthrough")


class NoFaceError(ValueError):
    """No face where one is needed; the message is one sentence for the artist."""


def faceless(counts: tuple[int, ...]) -> list[int]:
    """Indexes of the images that have no face, from the faces per image."""
    return [index for index, count in enumerate(counts) if count == 0]


def refuse_faceless(
    found: tuple[int, ...],
    chosen: tuple[int, ...],
    image_size: tuple[int, int],
    on_no_face: str,
    at_least_one: bool = False,
    what: str = "image",
    broken: str | None = None,
) -> None:
    """Raise NoFaceError when the policy doesn't allow the images that are left without a face.

    `found` and `chosen` are the faces per image before and after the choice by index, `image_size` is (height, width).
    "error" wants a face in each image, "skip" in one of them where `at_least_one` says so. `what` names the input;
    `broken` says what else is wrong with an image that has no face.
    """
    missing = faceless(chosen)
    refused = on_no_face == "error" or (on_no_face == "skip" and at_least_one and len(missing) == len(chosen))
    if not missing or not refused:
        return
    policies = "skip or passthrough" if on_no_face == "error" else "passthrough"
    unasked = [index for index in missing if found[index]]
    if unasked:
        count = found[unasked[0]]
        raise NoFaceError(
            f"The face index asks for a face that {picture_name(unasked[:1], len(chosen), what)} does not have: it has "
            f"{'one, number 0' if count == 1 else f'{count}, numbers 0 to {count - 1}'}; ask for what it has, or set "
            f"on_no_face to {policies}."
        )
    if broken:
        raise NoFaceError(broken)
    height, width = image_size
    raise NoFaceError(
        f"No face was found in {picture_name(missing, len(chosen), what)} ({width}x{height} pixels); use a picture "
        "where the face looks at the camera and is over 20 pixels wide, check min_confidence in LoadFaceEncoder, or "
        f"set on_no_face to {policies}."
    )


def picture_name(indexes: list[int], count: int, what: str) -> str:
    """Some images of a batch of `count` in words: "the image", "images 1, 3 of 4"; `what` names the input."""
    if count == 1:
        return f"the {what}"
    return f"{what}{'s' if len(indexes) > 1 else ''} {', '.join(str(index + 1) for index in indexes)} of {count}"
