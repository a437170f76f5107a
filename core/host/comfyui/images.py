"""IMAGEs as they come over a wire."""

import torch

from ...faces.broken import no_colours, why_no_face
from ...faces.policy import picture_name


def as_image(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE with its three colours, grey repeated and alpha left out; ValueError with one sentence if it is none."""
    if not image.is_floating_point():
        kind = str(image.dtype).removeprefix("torch.")
        raise ValueError(
            f"An IMAGE has colours as fractions from 0 to 1, but this one has whole numbers ({kind}); connect pictures "
            "as Load Image or VAE Decode gives them."
        )
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An IMAGE has the shape [batch, height, width, 3], but this one is {list(image.shape)}; connect pictures "
            "as Load Image or VAE Decode gives them."
        )
    return image.expand(-1, -1, -1, 3) if image.shape[-1] == 1 else image[..., :3]


def check_colours(image: torch.Tensor) -> torch.Tensor:
    """An IMAGE that is looked at as a whole; ValueError with one sentence if its numbers are no colours."""
    for number, picture in enumerate(image):
        wrong = no_colours(picture)  # host read: a vision model takes NaN for a picture
        if wrong is not None:
            raise ValueError(_sentence(number, len(image), "image", wrong))
    return image


def broken_picture(image: torch.Tensor, faceless: list[int], what: str = "image") -> str | None:
    """One sentence on the first of the pictures without a face in which nobody could find one; None: all are in order.

    `what` names the input.
    """
    for number in faceless:
        wrong = why_no_face(image[number])  # host read: only where no face was found
        if wrong is not None:
            return _sentence(number, len(image), what, wrong)
    return None


def _sentence(number, count, what, wrong):
    name = picture_name([number], count, what)
    return f"{name[0].upper()}{name[1:]} {wrong}"


def pixels(image: torch.Tensor, device: torch.device) -> torch.Tensor:
    """An IMAGE as float32 on a device, as if it had been saved: what is outside 0..1 is cut off, what is none black."""
    return image.to(device, torch.float32).nan_to_num(0.0).clamp(0, 1)
