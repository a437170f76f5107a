"""What to do about a picture without a face: one decision, the same wherever a face is looked for."""

ON_NO_FACE = ("error", "skip", "passthrough")


class NoFaceError(ValueError):
    """No face where one is needed; the message is one sentence for the artist."""


def faceless(counts: tuple[int, ...]) -> list[int]:
    """Indexes of the images that have no face, from the faces per image."""
    return [index for index, count in enumerate(counts) if count == 0]


def refuse_faceless(counts: tuple[int, ...], image_size: tuple[int, int], on_no_face: str):
    """Raise NoFaceError when `on_no_face` is "error" and an image has no face."""
    missing = faceless(counts)
    if missing and on_no_face == "error":
        raise NoFaceError(no_face_message(counts, image_size))


def no_face_message(counts: tuple[int, ...], image_size: tuple[int, int]) -> str:
    """One sentence naming the images without a face and what helps. `image_size` is (height, width)."""
    height, width = image_size
    missing = ", ".join(str(index + 1) for index in faceless(counts))
    where = "the image" if len(counts) == 1 else f"image {missing} of {len(counts)}"
    return (
        f"No face was found in {where} ({width}x{height} pixels); use a picture where the face looks at the camera and "
        "is over 20 pixels wide, check min_confidence in LoadFaceEncoder, or set on_no_face to skip or passthrough."
    )
