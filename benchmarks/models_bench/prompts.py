"""Prompts with what they ask for in brackets: `a photo of a person with [red hair] and [sunglasses]`."""

import re
from dataclasses import dataclass
from pathlib import Path

from likeness.cli.problems import Usage

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Prompt:
    """Line `number` of its kind in a file: the text that the model gets, and the phrases that stood in brackets."""

    number: int
    text: str
    phrases: tuple[str, ...]


def read_prompts(path: Path, first: int | None = None) -> list[Prompt]:
    """The prompts of a file, a line each; with `first` only so many of each number of phrases. Usage with the number
    of a line whose brackets are not what they should be."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path} can't be read as UTF-8 text ({error}); give a file with a prompt a line.") from error
    found: list[Prompt] = []
    taken: dict[int, int] = {}
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line.startswith("#"):
            continue
        phrases = tuple(" ".join(phrase.split()) for phrase in _BRACKETS.findall(line))
        rest = _BRACKETS.sub("", line)
        if "[" in rest or "]" in rest or "" in phrases:
            raise Usage(f"Line {number} of {path} has brackets that don't pair, lie in each other or hold nothing; "
                        "write [what it asks for].")  # fmt: skip
        taken[len(phrases)] = taken.get(len(phrases), 0) + 1
        if first is None or taken[len(phrases)] <= first:
            found.append(Prompt(len(found) + 1, _BRACKETS.sub(r"\1", line), phrases))
    if not found:
        raise Usage(f"{path} has no prompts; write one a line, with what it asks for in [brackets].")
    return found
