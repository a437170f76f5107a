"""Attribute phrases: what counts as one, where it stands, and a prompt without it."""

import pytest
from likeness.core.cure import find_attributes, leave_out, named_attributes
from likeness.core.prompt_text import plain_text


def found(prompt):
    return [(one.text, one.kind, one.absent) for one in find_attributes(prompt)]


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a woman with curly red hair", [("curly red hair", "place", False)]),
        ("(curly:1.2) (red hair:1.1)", [("curly red hair", "place", False)]),
        ("long, curly hair, smiling", [("long, curly hair", "place", False), ("smiling", "abstract", False)]),
        ("a woman in red, long hair", [("long hair", "place", False)]),
        ("a black and white hat", [("black and white hat", "place", False)]),
        ("wearing a Green Hat and round glasses", [("Green Hat", "place", False), ("round glasses", "place", False)]),
        ("no glasses, without a hat or earrings", [(word, "place", True) for word in ("glasses", "hat", "earrings")]),
        ("not wearing sunglasses", [("sunglasses", "place", True)]),
        ("clean-shaven", [("clean-shaven", "place", True)]),
        ("a hair ribbon", [("hair ribbon", "place", False)]),
        ("blue-green eyes", [("blue-green eyes", "place", False)]),
        ("red BREAK hair", [("hair", "place", False)]),
        (r"\(red\) hair", [("hair", "place", False)]),
        ("embedding:red_hair, a hat", [("hat", "place", False)]),
        ("a chair, an eyesore, hatred", []),
        ("", []),
    ],
)
def test_phrases(prompt, expected):
    assert found(prompt) == expected


def test_spans_are_of_the_prompt_itself():
    prompt = "portrait, (long (curly:1.1) red hair:1.2), a hat"
    [hair, hat] = find_attributes(prompt)
    assert prompt[slice(*hair.span)] == "long (curly:1.1) red hair" and prompt[slice(*hair.head)] == "hair"
    assert prompt[slice(*hat.span)] == "hat"


def test_plain_text_keeps_every_position():
    prompt = r"(p:1.2) embedding:x BREAK \(q\) ((w))"
    plain = plain_text(prompt)
    assert len(plain) == len(prompt) and [plain[prompt.index(letter)] for letter in "pqw"] == list("pqw")


def test_named_attributes():
    prompt = "a woman, curly (red:1.3)  hair, laughing, a hot air balloon"
    chosen = named_attributes(prompt, " Red hair, laughing\nair balloon,")
    assert [(one.text, one.kind) for one in chosen] == [
        ("red hair", "place"), ("laughing", "abstract"), ("air balloon", "place"),
    ]  # fmt: skip
    assert prompt[slice(*chosen[2].head)] == "balloon"
    assert named_attributes(prompt, " , ") == []
    assert not named_attributes("no glasses", "glasses")[0].absent  # named by hand, it counts


def test_a_named_attribute_that_is_not_there():
    with pytest.raises(ValueError, match="'green hat' is not in the prompt.*red hair"):
        named_attributes("red hair", "green hat")
    with pytest.raises(ValueError, match="not in the prompt"):
        named_attributes("a chair", "hair")


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a portrait, laughing, red hair", "a portrait, red hair"),
        ("a sad woman", "a woman"),
        ("a portrait with a smile, in the rain", "a portrait, in the rain"),
        ("a man, (laughing:1.3), a hat", "a man, a hat"),
        ("a man, looking sad, angry expression", "a man"),
        ("laughing out loud, a man", "a man"),
        ("a smiling face", "a face"),
    ],
)
def test_the_prompt_without_its_abstract_words(prompt, expected):
    assert leave_out(prompt, [one for one in find_attributes(prompt) if one.kind == "abstract"]) == expected


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("a woman with curly red hair and sunglasses, laughing, in a park", "a woman, in a park"),
        ("a man wearing a (green hat:1.2) on his head, film grain", "a man on his head, film grain"),
        ("a sad woman in a red dress with a pearl necklace and blue eyes", "a woman"),
        ("a bald bearded man", "a man"),
        ("a portrait, no hat, without glasses", "a portrait"),
        ("curly hair", ""),
    ],
)
def test_the_prompt_without_all_its_attributes(prompt, expected):
    assert leave_out(prompt, find_attributes(prompt)) == expected
