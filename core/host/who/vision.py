"""What vision models make of the pictures of a face: CLIP over ComfyUI's own CLIP_VISION, others from their files."""

from typing import Any

import comfy.model_management as mm
import torch

from ...adapters import VISION, Look, Seen
from ...vision.clip_tower import clip_square
from .vision_files import in_a_file, see_by_file


def see(
    look: Look, crops: torch.Tensor, clip_vision: Any, file_name: str, popular: bool = False
) -> tuple[Seen, Seen]:  # fmt: skip
    """What the look's model sees in pictures [N,3,H,W] (RGB, 0..1) and in an empty picture.

    As the published code has it, pictures become CLIP's squares by CLIPImageProcessor, and the empty one is grey, zeros
    after normalisation, unless the look wants it black. `popular`: as IPAdapter_plus had it, ComfyUI makes the squares,
    off by up to a pixel, and the empty picture is black. For models of `vision_files`, whose ModelPatcher takes the
    place of `clip_vision`, what is seen there is zeros. ValueError with one sentence when the model is missing or
    another one.
    """
    if in_a_file(look.vision):
        return see_by_file(crops, clip_vision)
    check_vision(look, clip_vision, file_name)
    return _clip(crops, clip_vision, popular, look.empty == "black")


def check_vision(look: Look, clip_vision: Any, file_name: str) -> None:
    """ValueError with one sentence unless the vision model that a look needs is connected, or needs not be."""
    if look.vision is None or in_a_file(look.vision):
        return
    vision = VISION[look.vision]
    if clip_vision is None:
        raise ValueError(
            f"{file_name} looks at the picture through {vision.title}; put that model ({vision.source}) into "
            f"models/{vision.folder}, load it with Load CLIP Vision and connect it to clip_vision."
        )
    width = _width(clip_vision)
    if width != vision.width:
        raise ValueError(
            f"{file_name} looks at the picture through {vision.title} ({vision.width} numbers per patch), but the "
            f"connected clip_vision is another model ({width} numbers per patch); load {vision.source}."
        )


def _width(clip_vision):
    return clip_vision.model.vision_model.post_layernorm.weight.shape[0]


def _clip(crops, clip_vision, popular, black):
    if not popular:
        crops = clip_square(crops, clip_vision.image_size)  # to which encode_image has nothing to add but the norm
    seen = clip_vision.encode_image(crops.movedim(1, -1))
    if popular or black:
        empty = clip_vision.encode_image(torch.zeros_like(crops[:1]).movedim(1, -1))
        return _seen(seen.penultimate_hidden_states, seen.image_embeds), _seen(
            empty.penultimate_hidden_states, empty.image_embeds if black else torch.zeros_like(empty.image_embeds)
        )
    mm.load_model_gpu(clip_vision.patcher)
    size = clip_vision.image_size
    zeros = torch.zeros(1, 3, size, size, device=clip_vision.load_device)
    with torch.no_grad():
        _, hidden, pooled, *_ = clip_vision.model(pixel_values=zeros, intermediate_output=-2)
    return _seen(seen.penultimate_hidden_states, seen.image_embeds), _seen(hidden, torch.zeros_like(pooled))


def _seen(hidden, pooled):
    return Seen((hidden.float(),), pooled.float())
