"""What the page's widgets show of faces: small copies of the pictures, and every face with its numbers."""

import hashlib
import io
import uuid
from pathlib import Path

import folder_paths
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ...faces.found import Faces
from ...faces.order import ORDERS
from ..comfyui.images import as_image

PICTURES = 16  # of a batch
SIDE = 640  # pixels, the longer side of a copy at most
_SUBFOLDER = "likeness"


def faces_to_show(image: torch.Tensor, found: Faces | None) -> list[dict]:
    """The first 16 pictures of a batch with all their faces, for `ui`; `found` is None where nobody looked for faces.

    Each is {"picture": where /view has a copy, "size": [width, height], "searched": bool, "faces": [{"box",
    "landmarks", "confidence", "numbers": {order: number}}]}, with boxes and landmarks in pixels of the picture itself.
    """
    image = as_image(image)[:PICTURES]
    height, width = image.shape[1:3]
    faces = [[]] * len(image) if found is None else _faces(found)
    return [
        {"picture": _copy(picture), "size": [width, height], "searched": found is not None, "faces": own}
        for picture, own in zip(image, faces, strict=False)
    ]


def _faces(found):
    faces = [
        {"box": list(face.box), "landmarks": [list(point) for point in face.landmarks], "confidence": face.score}
        for face in found.on_host
    ]
    for order in ORDERS:
        for own in found.places(order):
            for number, place in enumerate(own):
                faces[place].setdefault("numbers", {})[order] = number
    return [[faces[place] for place in own] for own in found.places(ORDERS[0])]


def _copy(picture):
    """Where the copy of a picture [H,W,3] in 0..1 lies; named by its content, so that it is written once."""
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in picture.shape[:2]]
    small = interpolate(picture.movedim(-1, 0)[None].float(), size, mode="area")[0].movedim(0, -1)
    pixels = (small.clamp(0, 1) * 255).round().byte().cpu().numpy()  # host read: a picture for the artist
    name = hashlib.sha256(pixels.tobytes()).hexdigest()[:16] + ".jpg"
    path = Path(folder_paths.get_temp_directory(), _SUBFOLDER, name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=90)
        # under another name first: nobody would write a half file again
        unfinished = path.with_name(f"{name}.{uuid.uuid4().hex}")
        try:
            unfinished.write_bytes(content.getvalue())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return {"filename": name, "subfolder": _SUBFOLDER, "type": "temp"}
