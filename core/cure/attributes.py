"""Attribute phrases in a prompt: what a portrait is to have ("curly red hair", "a green hat"), and where it says so.

The words are data (vocabulary.json); the grammar is small: a known noun with the known adjectives in front of it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..prompt_text import plain_text
from ..quoted import quoted

VOCABULARY = json.loads((Path(__file__).parent / "vocabulary.json").read_text(encoding="utf-8"))
_MODIFIERS, _ARTICLES = frozenset(VOCABULARY["modifiers"]), frozenset(VOCABULARY["articles"])
_JOINED_BY = frozenset(VOCABULARY["joined by"])
# A place's words come in groups, by the classes of the face parser (faces.regions.parser) that show them; the
# category's usual ones first. Freckles, beards and masks have none: the parser takes them for what is near.
_PLACES = {
    category: [word for group in groups for word in group["words"]] for category, groups in VOCABULARY["place"].items()
}
_NOUNS = {
    tuple(phrase.split()): (kind, category)
    for kind, categories in (("place", _PLACES), ("abstract", VOCABULARY["abstract"]))
    for category, phrases in categories.items()
    for phrase in phrases
}
_LONGEST = max(map(len, _NOUNS))
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|&")


@dataclass(frozen=True)
class Attribute:
    """A phrase of the prompt. `span` and `head` (its noun) are character positions [start, end).

    `kind` is "place" (it has a region in the picture) or "abstract" (an expression, an age). `absent`: the prompt says
    that it is not there.
    """

    text: str
    span: tuple[int, int]
    head: tuple[int, int]
    kind: str
    category: str
    absent: bool = False


@dataclass(frozen=True)
class _Word:
    text: str
    start: int
    end: int


def find_attributes(prompt: str) -> list[Attribute]:
    """Every attribute phrase that the vocabulary knows, in the order of the prompt."""
    text = plain_text(prompt)
    words = [_Word(match.group().lower(), *match.span()) for match in _WORD.finditer(text)]
    found: list[Attribute] = []
    index = 0
    while index < len(words):
        count, noun = _noun_at(words, index, text)
        if noun is None:
            index += 1
            continue
        first = _first_modifier(words, index, text)
        kind, category = noun
        before = found[-1] if found else None
        start, head = words[first].start, (words[index].start, words[index + count - 1].end)
        absent = _is_absent(words, first, text, before)
        if before and before.span[1] <= start and not text[before.span[1] : start].strip() and before.kind == kind:
            # two nouns side by side are one thing ("hair ribbon"), named by the latter
            start, absent = before.span[0], before.absent
            found.pop()
        found.append(Attribute(_phrase(text, start, head[1]), (start, head[1]), head, kind, category, absent))
        index += count
    return found


def named_attributes(prompt: str, names: str) -> list[Attribute]:
    """The phrases that an artist names, separated by commas; ValueError for one that the prompt doesn't have."""
    text = plain_text(prompt)
    known = {attribute.text.lower(): attribute for attribute in find_attributes(prompt)}
    chosen = []
    for name in (" ".join(part.split()) for part in re.split(r"[,\n]", names)):
        if not name:
            continue
        match = re.search(r"(?<!\w)" + r"[\s,]+".join(map(re.escape, name.split())) + r"(?!\w)", text, re.IGNORECASE)
        if match is None:
            seen = ", ".join(known) or "none that the vocabulary knows"
            raise ValueError(
                f"The attribute {quoted(name)} is not in the prompt; write it exactly as the prompt does, or leave "
                f"attributes empty to have them found (found here: {seen})."
            )
        if name.lower() in known:
            attribute = known[name.lower()]
            chosen.append(Attribute(attribute.text, attribute.span, attribute.head, attribute.kind, attribute.category))
            continue
        start, end = match.span()
        last = list(_WORD.finditer(text, start, end))[-1]
        kind, category = _NOUNS.get((last.group().lower(),), ("place", "named"))
        chosen.append(Attribute(_phrase(text, start, end), (start, end), last.span(), kind, category))
    return chosen


def leave_out(prompt: str, attributes: list[Attribute]) -> str:
    """The prompt with these phrases cut out, and with the words and commas that only led to them."""
    text = plain_text(prompt)
    words = [_Word(match.group().lower(), *match.span()) for match in _WORD.finditer(text)]
    for attribute in sorted(attributes, key=lambda attribute: attribute.span, reverse=True):
        start, end = _with_leading_words(words, text, attribute)
        opened = "".join(re.findall(r"(?<!\\)\(", prompt[start : attribute.span[0]]))  # "a (hat:1.2)": closed behind it
        prompt = prompt[:start] + opened + prompt[end:]
    prompt = re.sub(r"\(\s*(?::\s*[-+]?\d*\.?\d+\s*)?\)", "", prompt)
    prompt = re.sub(r"\s*(?:,\s*)+,", ",", prompt)
    prompt = re.sub(r"\s+([,.])", r"\1", prompt)
    return re.sub(r"[ \t]{2,}", " ", prompt).strip(" ,\t\n")


def _phrase(text, start, end):
    return " ".join(text[start:end].split())


def _touch(text, left, right):
    """Whether nothing but blanks stands between two words."""
    return not text[left.end : right.start].strip()


def _noun_at(words, index, text):
    """(number of words, (kind, category)) of the longest known noun that starts here, or (0, None)."""
    for count in range(min(_LONGEST, len(words) - index), 0, -1):
        run = words[index : index + count]
        if all(_touch(text, *pair) for pair in zip(run, run[1:], strict=False)):
            noun = _NOUNS.get(tuple(word.text for word in run))
            if noun is not None:
                return count, noun
    if words[index].text in VOCABULARY["absent by themselves"]:
        return 1, ("place", "absent")
    return 0, None


def _is_modifier(word):
    return word in _MODIFIERS or ("-" in word and all(part in _MODIFIERS for part in word.split("-")))


def _first_modifier(words, index, text):
    """Where the adjectives of the noun at `index` begin: "red", "long, curly", "black and white"."""
    first = index
    while first > 0:
        before = words[first - 1]
        gap = text[before.end : words[first].start].strip()
        if _is_modifier(before.text) and (not gap or (gap == "," and not _is_worn(words, first - 1, text))):
            first -= 1
        elif first > 1 and not gap and before.text in _JOINED_BY and _is_modifier(words[first - 2].text):
            if not _touch(text, words[first - 2], before):
                break
            first -= 2
        else:
            break
    return first


def _is_worn(words, index, text):
    """Whether the adjective before a comma belongs to something else: "a woman in red, long hair"."""
    return index > 0 and words[index - 1].text == "in" and _touch(text, words[index - 1], words[index])


def _is_absent(words, first, text, before):
    if words[first].text in VOCABULARY["absent by themselves"]:
        return True
    index = first - 1
    while index >= 0 and words[index].text in _ARTICLES and _touch(text, words[index], words[index + 1]):
        index -= 1
    if index < 0 or not _touch(text, words[index], words[index + 1]):
        return False
    if words[index].text in ("or", "nor"):
        return before is not None and before.absent and before.span[1] <= words[index].start
    pair = f"{words[index - 1].text} {words[index].text}" if index else ""
    return words[index].text in VOCABULARY["absent"] or pair in VOCABULARY["absent"]


def _with_leading_words(words, text, attribute):
    """A phrase's span with "wearing a", "looking", "and" before it and "expression" after it."""
    start, end = attribute.span
    if attribute.kind == "abstract":
        for tail in VOCABULARY["follow an abstract word"]:
            match = re.match(rf"\s+{tail}(?!\w)", text[end:], re.IGNORECASE)
            if match:
                end += match.end()
                break
    following = _WORD.match(text, end + len(text[end:]) - len(text[end:].lstrip()))
    if following and following.group().lower() not in VOCABULARY["begin something else"]:
        return start, end  # it describes what follows ("a sad woman"): the article stays with that
    position = len([word for word in words if word.end <= start])
    while position and words[position - 1].text in VOCABULARY["lead to an attribute"]:
        if text[words[position - 1].end : start].strip():
            break
        position -= 1
        start = words[position].start
    return start, end
