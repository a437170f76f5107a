"""Searching on the real photographs: every face, and nothing else, as they come, turned, shrunk and as close-ups."""

import found
import photographs
import pytest
import torch
from likeness.core.faces.encoder import load_embedded
from likeness.core.faces.search import search

# Two faces, one in profile and one in shadow behind a hand, that the detector only just finds in the photograph itself.
HARD = {"sample2/J", "sample2/L"}
MISSED = {
    "as they are": set(), "turned by 90": set(), "turned by 180": set(), "turned by 270": set(),
    "a quarter of the side": {"sample2/J"}, "close-ups": HARD,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder(device):
    return load_embedded(device=device)


@pytest.mark.parametrize("condition", MISSED)
@torch.no_grad()
def test_every_face_is_found_and_nothing_else(encoder, device, condition):
    missed, made_up = set(), []
    for name, seen in photographs.people().items():
        for picture, faces, degrees in found.CONDITIONS[condition](photographs.picture(name), seen["faces"]):
            image = photographs.as_image(picture).to(device)
            there = search(encoder.detect, image, "auto", sure=encoder.sure)
            _, gone, nobody = found.judge(there, faces, degrees)
            missed |= {f"{name}/{person}" for person in gone}
            made_up += [(name, face) for face in nobody]
    assert missed == MISSED[condition] and not made_up


def test_finds_that_are_no_face_are_dropped_and_faces_kept(encoder, device):
    """What MTCNN takes for faces wavers more than anything that is one."""
    verified = encoder.detector
    for name, seen in photographs.people().items():
        image = photographs.as_image(photographs.picture(name)).to(device)
        bare = verified.detector(image)
        valid = bare.valid[0]
        wavers = verified.unsteadiness(image, bare.boxes[0][valid], bare.landmarks[0][valid], valid[valid])
        boxes = bare.boxes[0][valid].tolist()
        for box, waver in zip(boxes, wavers.tolist(), strict=True):
            is_face = any(photographs.overlap(box, face["box"]) > 0.5 for face in seen["faces"])
            assert waver < 0.042 if is_face else waver > 0.056, (name, box)
