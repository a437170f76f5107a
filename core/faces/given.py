"""Faces that another node has found: ComfyUI's FACE_LANDMARKS and BOUNDING_BOX, read and checked; and boxes given.

FACE_LANDMARKS (its MediaPipeFaceLandmarker): {"frames": a list of faces per picture, "image_size": (H, W), ...}, each
face {"landmarks_xy": [478, 2] in pixels, "score": 0..1, ...}. BOUNDING_BOX (MediaPipeFaceLandmarker, RT-DETR, SAM3):
{"x", "y", "width", "height", ...} in pixels, one for all pictures, or a list of them for all, or a list per picture.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..layer_types import Device
from ..plain import is_list, is_number, kind_in_words
from .found import Faces, HostFace

# Points of MediaPipe's face mesh that are each Landmark, or around it. Of eyes lids and corners, not the irises: those
# follow the gaze, and meshes of 468 points have none.
MESH_FIVE = ((33, 133, 159, 145), (362, 263, 386, 374), (4,), (61,), (291,))
_MESH_POINTS = 468


def faces_of(per_image: Sequence[Sequence[HostFace]], image_size: tuple[int, int], device: Device) -> Faces:
    """Faces from what is known of them on the host, in that order."""
    flat = [face for faces in per_image for face in faces]
    index = [number for number, faces in enumerate(per_image) for _ in faces]
    return Faces(
        torch.tensor([face.box for face in flat], dtype=torch.float32, device=device).reshape(-1, 4),
        torch.tensor([face.landmarks for face in flat], dtype=torch.float32, device=device).reshape(-1, 5, 2),
        torch.tensor([face.score for face in flat], dtype=torch.float32, device=device),
        torch.tensor(index, dtype=torch.long, device=device),
        tuple(len(faces) for faces in per_image),
        image_size,
        tuple(flat),
    )


def mesh_faces(face_landmarks: Any, count: int, image_size: tuple[int, int]) -> list[list[HostFace]]:
    """The faces of `count` pictures of `image_size` (H, W) from FACE_LANDMARKS.

    The box is the extent of the whole mesh, which reaches from the hairline to the chin. Raises ValueError with one
    sentence for another structure, other pictures, or coordinates that are not finite.
    """
    frames: Any = face_landmarks.get("frames") if isinstance(face_landmarks, Mapping) else None
    if not is_list(frames) or not all(is_list(frame) for frame in frames):
        raise ValueError(
            f"The face_landmarks must hold a list of faces for each picture under frames, but are "
            f"{kind_in_words(face_landmarks)}; connect MediaPipe Face Landmarker."
        )
    if len(frames) != count:
        raise ValueError(
            f"The face_landmarks belong to {_number(len(frames), 'picture')}, but image has {count}; "
            "connect both to the same pictures."
        )
    size = face_landmarks.get("image_size", image_size)
    if not is_list(size) or list(size) != list(image_size):
        raise ValueError(
            f"The face_landmarks belong to pictures of {_size(size)} pixels, but image has {_size(image_size)}; "
            "connect both to the same pictures."
        )
    return [[_mesh_face(face, index) for face in frame] for index, frame in enumerate(frames)]


def _mesh_face(face, index):
    try:
        points = np.asarray(face["landmarks_xy"], dtype=np.float64)
        whole = points.ndim == 2 and points.shape[0] >= _MESH_POINTS and points.shape[1] == 2
    except (TypeError, KeyError, ValueError, IndexError):
        whole = False
    if not whole or not np.isfinite(points).all():
        raise ValueError(
            f"Each face in face_landmarks must hold 468 or 478 points (x, y) in pixels under landmarks_xy, but one of "
            f"picture {index + 1} is {kind_in_words(face)}; connect MediaPipe Face Landmarker."
        )
    five = tuple(tuple(points[list(places)].mean(0).tolist()) for places in MESH_FIVE)  # host read: numpy
    box = tuple((np.concatenate([points.min(0), points.max(0)]) + 0.5).tolist())  # host read: numpy; pixel edges
    score = face.get("score", 1.0)
    return HostFace(box, five, float(score) if is_number(score) else 1.0)  # host read: a Python number


def boxes_of(bounding_boxes: Any, count: int) -> list[list[tuple[float, float, float, float]]]:
    """The boxes xyxy in pixels of each of `count` pictures from BOUNDING_BOX.

    Raises ValueError with one sentence for another structure or another number of pictures.
    """
    if isinstance(bounding_boxes, Mapping):
        bounding_boxes = [bounding_boxes]
    if not is_list(bounding_boxes):
        raise _no_boxes(bounding_boxes)
    if all(isinstance(box, Mapping) for box in bounding_boxes):
        bounding_boxes = [bounding_boxes]
    if not all(is_list(boxes) for boxes in bounding_boxes):
        raise _no_boxes(bounding_boxes)
    if len(bounding_boxes) not in (1, count):
        raise ValueError(
            f"The bounding_boxes belong to {_number(len(bounding_boxes), 'picture')}, but image has {count}; "
            "connect both to the same pictures."
        )
    read = [[_box(box) for box in boxes] for boxes in bounding_boxes]
    return read * count if len(read) == 1 else read


def as_boxes(faces: Faces) -> list[list[dict]]:
    """The boxes of faces as BOUNDING_BOX, a list per picture, in the form of MediaPipeFaceLandmarker's."""
    boxes = [
        {"x": left, "y": top, "width": right - left, "height": bottom - top, "label": "face", "score": face.score}
        for face in faces.on_host
        for left, top, right, bottom in [face.box]
    ]
    starts = [sum(faces.counts[:number]) for number in range(len(faces.counts))]
    return [boxes[start : start + count] for start, count in zip(starts, faces.counts, strict=True)]


def _box(box):
    values = [box.get(name) if isinstance(box, Mapping) else None for name in ("x", "y", "width", "height")]
    if not all(is_number(value) for value in values) or min(values[2:]) <= 0:
        raise _no_boxes(box)
    x, y, width, height = (float(value) for value in values)  # host read: Python numbers
    return x, y, x + width, y + height


def _no_boxes(found):
    return ValueError(
        f"The bounding_boxes must hold boxes with x, y, width and height in pixels, width and height over 0, but hold "
        f"{kind_in_words(found)}; connect a node that finds objects, or a Bounding Box."
    )


def _size(size):
    return "x".join(str(length) for length in reversed(size)) if is_list(size) else kind_in_words(size)


def _number(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"
