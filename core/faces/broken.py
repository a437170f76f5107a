"""Pictures that no face can be found in because their numbers are no picture's: one sentence for the artist."""

import torch
from torch import Tensor

_BEYOND = 0.5  # what sharpening puts a picture below 0 or above 1 is far less
_WHITE, _NEARLY_ALL = 0.998, 0.95


def no_colours(picture: Tensor) -> str | None:
    """The end of a sentence that begins with the name of a picture [H, W, C] whose numbers are no colours, else None.

    Reads numbers back from the picture's device.
    """
    if not torch.isfinite(picture).all():
        return (
            "holds values that are not numbers (NaN or infinite), as a model in half precision can; run what made it "
            "in full precision, a VAE with --fp32-vae."
        )
    low, high = (float(value) for value in picture[..., :3].float().aminmax())
    if low < -_BEYOND or high > 1 + _BEYOND:
        return (
            f"has numbers from {low:g} to {high:g}, but an IMAGE's go from 0 (black) to 1 (white); connect it as Load "
            "Image or VAE Decode gives it."
        )
    return None


def why_no_face(picture: Tensor) -> str | None:
    """As `no_colours`, of a picture [H, W, C] without a face; None when it may be an ordinary one."""
    wrong = no_colours(picture)
    if wrong is None and (picture[..., :3] > _WHITE).float().mean() > _NEARLY_ALL:
        wrong = (
            "is white nearly everywhere, as a grey picture of 16 bits comes out of Load Image; save it with 8 bits, or "
            "connect a picture with a face."
        )
    return wrong
