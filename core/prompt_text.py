"""The words of a prompt, without what only ComfyUI reads in it."""

import re

_WEIGHT = re.compile(r":\s*[-+]?\d*\.?\d+\s*(?=\))")
_UNREADABLE = re.compile(r"embedding:\S+|\bBREAK\b")


def plain_text(prompt: str) -> str:
    """The prompt without weights, parentheses, embeddings and BREAK; every character stays at its position."""
    blank = lambda match: " " * len(match.group())  # noqa: E731
    text = _WEIGHT.sub(blank, prompt)
    # an escaped parenthesis and a break end a phrase just as a comma does
    text = re.sub(r"\\[()]", ";;", text)
    text = _UNREADABLE.sub(lambda match: ";" * len(match.group()), text)
    return re.sub(r"[()]", " ", text)
