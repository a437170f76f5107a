"""Where a cured MODEL's latest sampling run found its attributes: what CureMask does, as plain functions."""

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ...cure.masks import picture_masks
from ...cure.overlay import draw_masks
from ...sizes import height_width
from .. import keys
from ..comfyui.images import as_image, pixels


def latest_masks(model: ModelPatcher) -> torch.Tensor:
    """The union of all attributes' masks [B,H,W] in the latest run of a cured MODEL or of any clone of it, on the CPU.

    One per picture of the sampled batch, of the latent's size; black where the run only redrew expressions. ValueError
    with one sentence where there is none.
    """
    wrappers = model.get_wrappers(WrappersMP.OUTER_SAMPLE, keys.CURE)
    if not wrappers:
        raise ValueError(
            "The connected model carries no cure: it has not been through AttributeCure, or strength, range or mask "
            "left nothing to do there; connect the model that goes from AttributeCure into the sampler."
        )
    masks = wrappers[0].__self__.latest
    if masks is None:
        raise ValueError(
            "The connected model has no masks yet, because no sampler has run with it or its cure had nothing to do; "
            "run a sampler with it first, and connect the picture decoded from that to image."
        )
    return masks


def show_masks(model: ModelPatcher, image: torch.Tensor, opacity: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(masks [B,H,W] in 0..1, pictures with them drawn in [B,H,W,3]) for an IMAGE [B,H,W,C], on the IMAGE's device.

    A run of fewer pictures is repeated as often as it fits. ValueError with one sentence where it doesn't.
    """
    image, masks = pixels(as_image(image), image.device), latest_masks(model)
    if len(image) % len(masks):
        raise ValueError(
            f"The image has a batch of {len(image)}, but the latest sampling run with this model drew {len(masks)}; "
            "connect all pictures of that run."
        )
    shown = picture_masks(masks.to(image), len(image), height_width(image.shape[1:3])).squeeze(1)
    return shown, draw_masks(image, shown, opacity)
