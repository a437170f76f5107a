"""Searching on the real photographs: every face, and nothing else, as they come, turned, shrunk and as close-ups."""

import found
import photographs
import pytest
import torch
from likeness.core.faces.detect.search import search

# J, a profile behind a hand, is 59 x 77 pixels at a quarter of the side; looked through thoroughly, J is found as well.
# Turned photographs take long: here two of them by 90 degrees; all of them, by all angles, in `make bench-found`.
MISSED = {
    "as they are": set(), "turned by 90": set(), "half the side": set(), "a quarter of the side": {"sample2/J"},
    "close-ups": set(),
}  # fmt: skip


@pytest.mark.parametrize("condition", MISSED)
@torch.no_grad()
def test_every_face_is_found_and_nothing_else(embedded, seen, device, condition):
    def detect(image):
        plain = condition == "as they are" and torch.equal(image, seen(name)[0])
        return seen(name)[1] if plain else embedded.detect(image)

    missed, made_up = set(), []
    known = list(photographs.people().items())
    for name, people in known[::4] if condition == "turned by 90" else known:
        for picture, faces, degrees in found.CONDITIONS[condition](photographs.picture(name), people["faces"]):
            image = photographs.as_image(picture).to(device)
            there = search(detect, image, "auto", sure=embedded.sure)
            _, gone, nobody = found.judge(there, faces, degrees)
            missed |= {f"{name}/{person}" for person in gone}
            made_up += [(name, face) for face in nobody]
    assert missed == MISSED[condition] and not made_up


@torch.no_grad()
def test_thoroughly_the_last_one_is_found_too(embedded, device):
    [(picture, faces, degrees)] = found.CONDITIONS["a quarter of the side"](
        photographs.picture("sample2"), photographs.people()["sample2"]["faces"]
    )
    image = photographs.as_image(picture).to(device)
    people, gone, nobody = found.judge(search(embedded.detect, image, "thorough"), faces, degrees)
    assert len(people) == 3 and not gone and not nobody
