"""Where the words of a prompt are in a context that T5 made: FLUX's, Chroma's and the last part of SD3's."""

from types import SimpleNamespace

import pytest
from flux_cure_cases import clip
from likeness.core.host.conditioning.prompt import encode, token_positions
from tiny import flux_text

LENGTH = 256


def written(prompt, phrases, made=None, length=LENGTH):
    """For each (phrase, its end) the positions, and what T5 writes there."""
    made = made or clip(LENGTH)
    found = token_positions(made, prompt, phrases, length)
    [row] = made.tokenize(prompt)["t5xxl"]
    first, tokenizer = length - len(row), getattr(made.tokenizer, "t5xxl", None) or made.tokenizer.clip_t5xxl
    return [(one, [tokenizer.inv_vocab[row[i - first][0]] for i in one]) for one in found]


@pytest.mark.parametrize(
    "prompt, phrase, end, expected",
    [
        ("a woman, curly red hair, laughing", "curly red hair", "hair", ["▁hair"]),
        ("a woman, (curly red hair:1.2), laughing", "curly red hair", "hair", ["▁hair"]),
        ("a woman, curly (red:1.3) hair", "curly (red:1.3) hair", "hair", ["▁hair"]),
        ("a green hat and a red hat", "hat", "hat", ["▁", "hat", "▁", "hat"]),
        ("a green hat and a red hat", "red hat", "hat", ["▁", "hat"]),
        ("red hair. Red hair! red hair's", "red hair", "hair", ["▁hair", "▁hair"]),
        ('a "red hat", hair/beard, [red hat]', "red hat", "hat", ["▁", "hat"] * 2),
        ('a "red hat", hair/beard, [red hat]', "beard", "beard", ["be", "ard"]),
        ("a hatter with a hat, a chat", "hat", "hat", ["▁", "hat"]),
        ("a hairdresser, hairy, with hair", "hair", "hair", ["▁hair"]),
        ("a woman with\nsmoky eye  make-up", "smoky eye make-up", "make-up", ["▁make", "-", "up"]),
        ("a man, embedding:missing red hair", "red hair", "hair", ["▁hair"]),
        ("very " * 300 + "old, red hair", "red hair", "hair", ["▁hair"]),
    ],
)
def test_a_phrase_is_where_t5_writes_it(prompt, phrase, end, expected):
    length = encode(clip(LENGTH), prompt).context.shape[1]
    [(positions, pieces)] = written(prompt, [(phrase, end)], length=length)
    assert pieces == expected and positions == tuple(sorted(set(positions)))


def test_chroma_has_t5_alone_without_padding():
    made = flux_text.clip("chroma")
    prompt = "a woman, red hair"
    context = encode(made, prompt).context
    assert context.shape[1] == 7
    assert written(prompt, [("red hair", "hair")], made, 7) == [((5,), ["▁hair"])]


def test_sd3_has_t5s_tokens_behind_clips():
    from comfy.text_encoders.sd3_clip import SD3Tokenizer

    tokenizer = SD3Tokenizer()
    made = SimpleNamespace(tokenizer=tokenizer, tokenize=tokenizer.tokenize_with_weights)
    assert written("a woman, red hair", [("red hair", "hair")], made, 77 + 77) == [((77 + 5,), ["▁hair"])]


def test_words_that_are_not_there_are_named():
    with pytest.raises(ValueError, match="'blue hat' are not among the tokens"):
        token_positions(clip(LENGTH), "a blue chat", [("blue hat", "hat")], LENGTH)
