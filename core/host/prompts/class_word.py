"""Repeating the word for the person in a prompt's tokens, so that identity tokens can be fused into its copies."""

import re
from dataclasses import dataclass

from comfy.sd import CLIP

from ...prompt_text import plain_text
from ...quoted import quoted
from ..conditioning.prompt import own_tokens


@dataclass(frozen=True)
class Repeated:
    """A prompt's tokens, as ComfyUI's text encoders take them, and the positions of the copies in the context."""

    tokens: dict[str, list]
    positions: list[int]


def without_trigger(prompt: str, trigger: str) -> str:
    """The prompt without its trigger; ValueError with one sentence unless that stands once, right behind a word.

    As for CLIP, capitals are small letters, and a word ends where its letters end.
    """
    trigger = trigger.strip()
    if not trigger:
        raise ValueError("The trigger is empty; write a word that stands nowhere else in the prompt, such as img.")
    word = re.escape(trigger)
    alone = rf"\(\s*{word}\s*(?::[\d.]+)?\s*\)"  # with a weight of its own
    found = list(re.finditer(rf"\s*(?:{alone}|(?<![^\W\d_]){word}(?![^\W\d_]))", prompt, re.IGNORECASE))
    if len(found) != 1:
        raise ValueError(_misplaced(trigger, f"in the prompt {len(found)} times" if found else "not in the prompt"))
    before, after = prompt[: found[0].start()], prompt[found[0].end() :]
    if not plain_text(before).rstrip()[-1:].isalnum():
        raise ValueError(_misplaced(trigger, "not behind a word"))
    return before + after


def repeat_class_word(clip: CLIP, prompt: str, trigger: str, copies: int) -> Repeated:
    """Take the trigger out and put the token before it `copies` times, weight and all (PhotoMaker, Li et al. 2024).

    What no longer fits into a chunk moves on into the next; the copies stay together.
    """
    words, empty = (clip.tokenize(text, return_word_ids=True) for text in (trigger.strip(), ""))
    tokens, positions = {}, []
    for name, chunks in clip.tokenize(prompt, return_word_ids=True).items():
        wanted = [token for _, token, _ in own_tokens(words[name])]
        said = [(token, weight) for _, token, weight in own_tokens(chunks)]
        readable = [token if isinstance(token, int) else None for token, _ in said]
        starts = [at for at in range(1, len(said)) if readable[at : at + len(wanted)] == wanted]
        if len(starts) != 1:
            raise ValueError(_misplaced(trigger.strip(), f"among the prompt's tokens {len(starts)} times"))
        run = [said[starts[0] - 1]] * copies
        tokens[name], positions = _packed(said[: starts[0] - 1], run, said[starts[0] + len(wanted) :], empty[name][0])
    return Repeated(tokens, positions)


def _misplaced(trigger, where):
    return (
        f"The trigger {quoted(trigger)} is {where}; write it once, right behind the word for the person, as in: "
        f"photo of a woman {trigger}."
    )


def _packed(before, run, after, empty):
    """Tokens in chunks of the length of `empty`, a chunk of no words, and the positions of `run`."""
    (start, end, padding), room = (entry[:2] for entry in empty[:3]), len(empty) - 2
    chunks = [before[at : at + room] for at in range(0, len(before), room)] or [[]]
    if len(chunks[-1]) + len(run) > room:
        chunks.append([])
    first = (len(chunks) - 1) * len(empty) + 1 + len(chunks[-1])
    rest = chunks.pop() + run + after
    chunks += [rest[at : at + room] for at in range(0, len(rest), room)]
    framed = [[start, *chunk, end, *[padding] * (room - len(chunk))] for chunk in chunks]
    return framed, list(range(first, first + len(run)))
