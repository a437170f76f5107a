"""Which classes of the face parser an attribute has: every category is decided, and so are the nouns that differ."""

import pytest
from likeness.core.cure import find_attributes, named_attributes
from likeness.core.cure.attributes import VOCABULARY
from likeness.core.cure.parsing import classes_of
from likeness.core.faces.regions.parser import CLASSES


def names(attribute):
    return [CLASSES[number] for number in classes_of(attribute)]


def test_the_numbers_are_the_published_ones():
    published = {
        1: "skin", 3: "r_brow", 5: "r_eye", 6: "eye_g", 8: "r_ear", 9: "ear_r", 11: "mouth", 13: "l_lip", 15: "neck_l",
        16: "cloth", 17: "hair", 18: "hat",
    }  # fmt: skip
    assert len(CLASSES) == 19 and {number: CLASSES[number] for number in published} == published


@pytest.mark.parametrize("category", VOCABULARY["place"])
def test_every_noun_of_the_vocabulary_has_an_answer(category):
    for group in VOCABULARY["place"][category]:
        for noun in group["words"]:
            [attribute] = find_attributes(f"a portrait, red {noun}")
            assert attribute.category == category
            assert names(attribute) == group["regions"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("long, curly hair", ["hair"]),
        ("(Curly:1.2) (HAIR:1.1)", ["hair"]),
        ("blue eyes", ["l_eye", "r_eye"]),
        ("bushy eyebrows", ["l_brow", "r_brow"]),
        ("round sunglasses", ["eye_g"]),
        ("an eye patch", []),
        ("a straw hat", ["hat"]),
        ("pearl earrings", ["ear_r"]),
        ("a gold  necklace", ["neck_l"]),
        ("jewelry", ["ear_r", "neck_l"]),
        ("a nose ring", []),
        ("a beard", []),
        ("red lipstick", ["u_lip", "l_lip"]),
        ("smoky eye shadow", ["l_eye", "r_eye"]),
        ("make-up", ["l_eye", "r_eye", "u_lip", "l_lip"]),
        ("a surgical mask", []),
        ("freckles", []),
        ("a red scarf", ["cloth"]),
        ("a hair ribbon", []),
        ("a bald head", []),
        ("no glasses", ["eye_g"]),
        ("hatless", []),
        ("smiling", []),
        ("an old wall", ["background"]),
    ],
)
def test_phrases(prompt, expected):
    assert names(find_attributes(prompt)[-1]) == expected


def test_phrases_that_the_artist_names():
    prompt = "a big nose, tiny ears, a hot air balloon, a green bow tie"
    nose, ears, balloon, tie = named_attributes(prompt, "big nose, ears, air balloon, bow tie")
    assert names(nose) == ["nose"] and names(ears) == ["l_ear", "r_ear"]
    assert names(balloon) == [] and names(tie) == ["cloth"]
