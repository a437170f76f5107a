"""Showing faces: masks of their boxes, and pictures with boxes, landmarks and numbers drawn in."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..found import Faces

# The colours of InstantID's landmark drawing, so that preview and control image speak the same language.
_LANDMARK_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
_BOX_COLOUR = (255, 200, 0)


def box_masks(faces: Faces) -> torch.Tensor:
    """One mask per image [B,H,W], 1 inside the boxes of its faces, on the faces' device."""
    height, width = faces.image_size
    device = faces.boxes.device
    x = torch.arange(width, device=device) + 0.5
    y = torch.arange(height, device=device) + 0.5
    masks = []
    for boxes in faces.boxes.split(faces.counts):
        left, top, right, bottom = (edge[:, None] for edge in boxes.unbind(1))
        columns = ((x >= left) & (x <= right)).float()
        rows = ((y >= top) & (y <= bottom)).float()
        masks.append((rows.T @ columns).clamp(max=1))
    return torch.stack(masks)


def draw_faces(image: torch.Tensor, described: list[dict]) -> torch.Tensor:
    """Copies of images [B,H,W,3] with each face's box, landmarks, number and confidence.

    `described` is what Faces.describe gives.
    """
    pixels = (image.float().cpu().clamp(0, 1) * 255).round().byte().numpy()  # host read: a picture for the artist
    return torch.from_numpy(np.stack([_draw(*pair) for pair in zip(pixels, described, strict=True)])).float() / 255


def _draw(pixels, description):
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 500))
    font = ImageFont.load_default(size=max(14, round(max(picture.size) / 60)))
    for face in description["faces"]:
        left, top, right, bottom = face["box"]
        pen.rectangle((left, top, right, bottom), outline=_BOX_COLOUR, width=line)
        radius = max(line, round((right - left) / 40))
        for (x, y), colour in zip(face["landmarks"], _LANDMARK_COLOURS, strict=True):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        label = f"{face['number']}  {face['confidence']:.2f}"
        corner = (left, max(0, top - font.size * 1.3))
        pen.rectangle(pen.textbbox(corner, label, font=font), fill=_BOX_COLOUR)
        pen.text(corner, label, font=font, fill=(0, 0, 0))
    return np.asarray(picture)
