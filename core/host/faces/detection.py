"""Finding faces for the nodes: detection, choice, the no-face policy, and what is shown of it."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import torch

from ...faces.found import Faces, parse_index
from ...faces.onnx.details import Details
from ...faces.policy import faceless, refuse_faceless
from ...faces.regions.overlay import draw_faces
from ..comfyui.images import as_image, broken_picture
from ..comfyui.progress import watched
from .encoder import LoadedEncoder
from .face_masks import check_masks, face_masks
from .given import given_faces

CROP_SIZE = 256
_POSE = ("pitch", "yaw", "roll")  # degrees


@dataclass(frozen=True)
class Detection:
    """Faces of a batch: cut-outs [N,256,256,3], masks [B,H,W], a preview [B,H,W,3] and a description per image.

    `faces` are the chosen ones of `found`. `report` is the description as JSON text.
    """

    found: Faces
    faces: Faces
    crops: torch.Tensor
    mask: torch.Tensor
    preview: torch.Tensor
    description: list[dict]
    report: str


def find_faces(encoder: LoadedEncoder, image: torch.Tensor, index: str, found: Faces | None = None) -> Faces:
    """All faces of a batch, or `found` where they are known already; a bad index is refused before the work."""
    parse_index(index)
    return encoder.detect(image) if found is None else found


def choose_faces(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    order: str,
    index: str,
    on_no_face: str,
    at_least_one: bool = False,
    what: str = "image",
    found: Faces | None = None,
) -> Faces:
    """Detect and choose faces; NoFaceError when the policy forbids what is left without one (see refuse_faceless).

    `found` are faces that are known already.
    """
    found = find_faces(encoder, image, index, found)
    faces = found.select(order, index)
    broken = broken_picture(image, faceless(found.counts), what)
    refuse_faceless(found.counts, faces.counts, faces.image_size, on_no_face, at_least_one, what, broken)
    if broken:
        logging.warning("Likeness: %s", broken)
    return faces


def detect_faces(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    order: str,
    index: str,
    on_no_face: str,
    face_landmarks: Any = None,
    bounding_boxes: Any = None,
    mask_from: str = "box",
    soft_edge: float = 0.0,
    details: bool = False,
) -> Detection:
    """Everything DetectFaces puts out. With "skip" images without a face are not in the masks.

    With `details` the description has what the encoder's pack knows about each face.
    """
    image = as_image(image)
    check_masks(mask_from)
    given = given_faces(encoder, image, face_landmarks, bounding_boxes, on_no_face)
    found = find_faces(encoder, image, index, given.faces)
    faces = choose_faces(encoder, image, order, index, on_no_face, found=found)
    mask = face_masks(encoder, image, faces, mask_from, soft_edge)
    if on_no_face == "skip":
        left_out = set(faceless(faces.counts))
        mask = mask[[i for i in range(len(mask)) if i not in left_out]]
    described = faces.describe()
    if details:
        _add_details(described, encoder.details(image, faces))
    images = [{"image": number, **picture} for number, picture in enumerate(described)]
    for picture, empty in zip(images, given.empty_boxes, strict=False):
        picture["boxes_without_face"] = list(empty)
    return Detection(
        found,
        faces,
        encoder.crop(image, faces, CROP_SIZE).cpu(),
        mask.cpu(),
        drawn_faces(image, described),
        described,
        json.dumps({"encoder": encoder.space, "count": faces.total, "images": images}, indent=1),
    )


def drawn_faces(image: torch.Tensor, described: list[dict]) -> torch.Tensor:
    """The preview [B,H,W,3] of images and what Faces.describe says of them."""
    pictures = watched(image.split(1), len(image), "Drawing faces")
    return torch.cat([draw_faces(picture, [faces]) for picture, faces in zip(pictures, described, strict=True)])


def _add_details(described: list[dict], details: Details):
    """Put what is known about each face beside its box: numbers rounded to a tenth, in the order of the faces."""

    def numbers(values):
        return (values.float() * 10).round().div(10).tolist()  # host read: the report is text

    pose = {} if details.pose is None else {"pose": numbers(details.pose)}
    given = {
        "landmarks_106": details.landmarks106, "landmarks_68": details.landmarks68, "age": details.age,
        "male": details.male,
    }  # fmt: skip
    known = pose | {name: numbers(values) for name, values in given.items() if values is not None}
    faces = [face for picture in described for face in picture["faces"]]
    for place, face in enumerate(faces):
        for name, values in known.items():
            face[name] = dict(zip(_POSE, values[place], strict=True)) if name == "pose" else values[place]
        if "male" in face:
            face["gender"] = "male" if face.pop("male") else "female"
            face["age"] = round(face["age"])
