"""Faces that come from other nodes, instead of from a search of the whole picture."""

from dataclasses import dataclass
from typing import Any

import torch

from ...faces.found import Faces, HostFace
from ...faces.given import boxes_of, faces_of, mesh_faces
from ...faces.policy import NoFaceError
from ...sizes import height_width
from ..comfyui.images import as_image, broken_picture
from .encoder import LoadedEncoder

MARGIN = 0.3  # of a box's sides that is shown around it to the detector: it wants to see more than the face
_SAME = 0.5  # overlap (intersection over union) from which two finds are one face that lies in two boxes


@dataclass(frozen=True)
class Given:
    """Faces, or None where the picture has to be searched; and per picture the numbers of the boxes without a face."""

    faces: Faces | None = None
    empty_boxes: tuple[tuple[int, ...], ...] = ()


def given_faces(
    encoder: LoadedEncoder, image: torch.Tensor, face_landmarks: Any, bounding_boxes: Any, on_no_face: str
) -> Given:  # fmt: skip
    """The faces that ComfyUI's FACE_LANDMARKS hold, or those inside its BOUNDING_BOXes; nothing without either.

    Raises ValueError with one sentence for bad structures and for both together, NoFaceError when a box has no face
    and the policy is "error".
    """
    if face_landmarks is None and bounding_boxes is None:
        return Given()
    if face_landmarks is not None and bounding_boxes is not None:
        raise ValueError(
            "Both face_landmarks and bounding_boxes say where the faces are; connect one of them, or neither."
        )
    image = as_image(image)
    size = height_width(image.shape[1:3])
    if face_landmarks is not None:
        faces = mesh_faces(face_landmarks, len(image), size)
        return Given(faces_of(faces, size, encoder.patcher.load_device))
    found, empty = [], []
    for index, boxes in enumerate(boxes_of(bounding_boxes, len(image))):
        in_boxes = [_faces_inside(encoder, image[index : index + 1], box) for box in boxes]
        empty.append(tuple(number for number, faces in enumerate(in_boxes) if not faces))
        if empty[-1] and on_no_face == "error":
            raise NoFaceError(
                broken_picture(image, [index])
                or f"No face was found in box {empty[-1][0] + 1} of {len(boxes)} in picture {index + 1}; use boxes "
                "around faces that look at the camera and are over 20 pixels wide, or set on_no_face to skip or "
                "passthrough."
            )
        found.append(_distinct([face for faces in in_boxes for face in faces]))
    return Given(faces_of(found, size, encoder.patcher.load_device), tuple(empty))


def _faces_inside(encoder, picture, box) -> list[HostFace]:
    """The faces whose middle lies in a box xyxy of a picture [1,H,W,3]; only the box and its margin are searched."""
    height, width = picture.shape[1:3]
    wide, high = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    left, right = (round(min(max(edge, 0), width)) for edge in (box[0] - wide, box[2] + wide))
    top, bottom = (round(min(max(edge, 0), height)) for edge in (box[1] - high, box[3] + high))
    if right <= left or bottom <= top:
        return []
    faces = [_moved(face, left, top) for face in encoder.detect(picture[:, top:bottom, left:right]).on_host]
    return [face for face in faces if all(box[i] <= (face.box[i] + face.box[i + 2]) / 2 <= box[i + 2] for i in (0, 1))]


def _moved(face, x, y):
    left, top, right, bottom = face.box
    points = tuple((px + x, py + y) for px, py in face.landmarks)
    return HostFace((left + x, top + y, right + x, bottom + y), points, face.score)


def _distinct(faces):
    """Faces without those that overlap a surer one."""
    kept = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(_overlap(face.box, other.box) < _SAME for other in kept):
            kept.append(face)
    return kept


def _overlap(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
