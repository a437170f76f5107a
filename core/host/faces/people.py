"""Which face is whose: faces of a batch of pictures assigned to up to four people."""

import json
from dataclasses import dataclass
from typing import Any

import torch

from ...faces.found import Faces
from ...faces.identity.assign import PEOPLE, by_position, by_similarity
from ...faces.identity.identity import Identity
from ...faces.policy import faceless
from ...similarity import cosines
from ..comfyui.images import as_image
from .detection import choose_faces, drawn_faces
from .encoder import LoadedEncoder
from .face_masks import check_masks, face_masks
from .given import given_faces


@dataclass(frozen=True)
class Assignment:
    """Faces in the order of the people, a mask [B,H,W] for each person, a preview [B,H,W,3] and a report as JSON."""

    faces: Faces
    masks: list[torch.Tensor]
    preview: torch.Tensor
    report: str


def assign_faces(
    encoder: LoadedEncoder,
    image: torch.Tensor,
    by: str,
    identities: dict[int, Identity],
    min_similarity: float,
    on_no_face: str,
    mask_from: str = "box",
    soft_edge: float = 0.0,
    face_landmarks: Any = None,
    bounding_boxes: Any = None,
) -> Assignment:
    """Everything AssignFaces puts out, picture by picture; identities are numbered from 1.

    Who is in no picture has an empty mask and is named in the report. With "skip" pictures without a face are not in
    the masks. Raises NoFaceError or ValueError with one sentence.
    """
    if by == "similarity" and not identities:
        raise ValueError(
            "AssignFaces by similarity needs to know who to look for: connect identity_1, or set by to left to right "
            "or largest."
        )
    check_masks(mask_from)
    image = as_image(image)
    order = "largest" if by == "similarity" else by
    given = given_faces(encoder, image, face_landmarks, bounding_boxes, on_no_face)
    faces = choose_faces(encoder, image, order, "all", on_no_face, found=given.faces)
    likeness, who = {}, list(range(1, PEOPLE + 1))
    if by == "similarity":
        who = sorted(identities)
        likeness = _likeness(encoder, image, faces, identities)
    people = _people(faces, who, likeness, min_similarity, by)

    masks = []
    for number in range(1, PEOPLE + 1):
        own = faces.pick([[faces_of[number]] if number in faces_of else [] for faces_of in people])
        masks.append(face_masks(encoder, image, own, mask_from, soft_edge))
    if on_no_face == "skip":
        left_out = set(faceless(faces.counts))
        kept = [i for i in range(len(image)) if i not in left_out]
        masks = [mask[kept] for mask in masks]
    described = _describe(faces, people, likeness)
    for picture, empty in zip(described, given.empty_boxes, strict=False):
        picture["boxes_without_face"] = list(empty)
    report = {
        "by": by,
        "encoder": encoder.space,
        **({"score": "cosine, -1 to 1", "min_similarity": min_similarity} if likeness else {}),
        "missing": [number for number in who if not any(number in faces_of for faces_of in people)],
        "images": described,
    }
    return Assignment(
        faces.pick([[faces_of[number] for number in sorted(faces_of)] for faces_of in people]),
        [mask.cpu() for mask in masks],
        drawn_faces(image, _labelled(described)),
        json.dumps(report, indent=1),
    )


def _likeness(encoder, image, faces, identities):
    """Person -> cosine of every face; nobody can look like a person whose photographs have no face."""
    vectors = encoder.embed(image, faces)
    known = {number: person for number, person in identities.items() if not person.is_empty}
    rows = [cosines(person, encoder.space, vectors) for person in known.values()]
    # host read: who is who decides which faces go where
    table = torch.stack(rows).tolist() if rows else []
    return dict(zip(known, table, strict=True))


def _people(faces, who, likeness, min_similarity, by):
    """Per picture the place among all faces of each person who is there."""
    people, first = [], 0
    for count in faces.counts:
        if by == "similarity":
            who = list(likeness)
            own = by_similarity([likeness[number][first : first + count] for number in who], min_similarity)
        else:
            own = by_position(count)
        people.append({number: first + face for number, face in zip(who, own, strict=True) if face is not None})
        first += count
    return people


def _describe(faces, people, likeness):
    """What Faces.describe says, with the person of each face, None for nobody, and its similarity to each."""
    described, place = faces.describe(), 0
    for picture, faces_of in zip(described, people, strict=True):
        person_at = {at: number for number, at in faces_of.items()}
        for face in picture["faces"]:
            face["person"] = person_at.get(place)
            if likeness:
                face["similarity"] = {str(number): round(row[place], 6) for number, row in likeness.items()}
            place += 1
    return [{"image": index, **picture} for index, picture in enumerate(described)]


def _labelled(described):
    """Descriptions whose faces are numbered by person, for the preview."""
    return [
        {"faces": [{**face, "number": face["person"] or "nobody"} for face in picture["faces"]]}
        for picture in described
    ]
