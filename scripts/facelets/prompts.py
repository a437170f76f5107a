"""Captions as token numbers, on ComfyUI's own tokenizer, with the few words that the world uses numbered anew."""

import re
from functools import cache

import numpy as np
import torch
from torch import Tensor

from .pack import module
from .world import LOOKS, caption, sample_look

LENGTH, START, END = 77, 49406, 49407
VOCABULARY = 49408


@cache
def _tokenizer():
    return module("comfy.sd1_clip").SDTokenizer().tokenizer


@cache
def _tokens_of(word: str) -> tuple[int, ...]:
    return tuple(_tokenizer()(word)["input_ids"][1:-1])


def tokens(text: str) -> list[int]:
    """Token numbers of a caption without start and end; words are split at spaces, as the tokenizer does."""
    return [token for word in text.split() for token in _tokens_of(word)]


@cache
def known_tokens() -> tuple[int, ...]:
    """All tokens that captions of the world have, in rising order, and start and end."""
    rng = np.random.default_rng(5)
    found = {START, END}
    for keep in (0.5, 1.0):
        for _ in range(6000):
            found.update(tokens(caption(sample_look(rng), rng, keep, absent=0.5)))
    return tuple(sorted(found))


@cache
def compact_numbers() -> Tensor:
    """[49408]: a token's row in the table that is trained; the last row stands for every word the world never uses."""
    known = known_tokens()
    numbers = torch.full((VOCABULARY,), len(known))
    numbers[list(known)] = torch.arange(len(known))
    return numbers


def encode_captions(texts: list[str], rng: np.random.Generator, unknown: float = 0.0) -> Tensor:
    """[len(texts), 77] rows of the trained table; with probability `unknown` one to three foreign words are put in."""
    compact = compact_numbers()
    rows = torch.full((len(texts), LENGTH), int(compact[END]))
    for row, text in zip(rows, texts, strict=True):
        numbers = compact[tokens(text)].tolist() if text else []
        if text and rng.uniform() < unknown:
            for _ in range(rng.integers(1, 4)):
                numbers.insert(rng.integers(0, len(numbers) + 1), int(compact[0]))
        numbers = numbers[: LENGTH - 2]
        row[0] = compact[START]
        row[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.long)
    return rows


# A piece of a caption, as `caption` writes them, and the value that it names.
_PIECES = {
    "hat": {"none": r"no hat|without a hat", "hat": r"hat$", "beanie": r"beanie$"},
    "glasses": {"none": r"no glasses|without glasses", "sunglasses": r"sunglasses$", "glasses": r"glasses$"},
    "facial_hair": {"none": r"clean-shaven|no beard", "beard": r"\bbeard", "moustache": r"moustache$"},
    "earrings": {"none": r"no earrings", "earrings": r"earrings$"},
    "expression": {"neutral": r"neutral|serious", "smiling": r"\bsmil", "laughing": r"laughing", "sad": r"\bsad\b",
                   "surprised": r"surprised"},
    "hair_length": {**{word: rf"\b{word}\b.* hair$" for word in LOOKS["hair_length"]}, "bald": r"\bbald\b|no hair"},
    "hair_curl": {word: rf"\b{word}\b.* hair$" for word in LOOKS["hair_curl"]},
    "hair_color": {word: rf"\b{word} hair$" for word in LOOKS["hair_color"]},
    "hat_color": {word: rf"\b{word} (hat|beanie)$" for word in LOOKS["hat_color"]},
    "eye_color": {word: rf"\b{word} eyes$" for word in LOOKS["eye_color"]},
    "background": {word: rf"\b{word} (background|wall)$" for word in LOOKS["background"]},
    "style": {"ink": r"\bink(ed)? (portrait|drawing|picture)", "pastel": r"\bpastel\b", "flat": r"\b(flat|simple)\b"},
}  # fmt: skip


def said(text: str) -> dict[str, str]:
    """What a caption of the world says, as {attribute: value}. The plain style has a way of going without saying."""
    named = {}
    for piece in text.split(", "):
        for attribute, values in _PIECES.items():
            for value, pattern in values.items():
                if attribute not in named and re.search(pattern, piece):
                    named[attribute] = value
    return named
