"""A prompt through ComfyUI's own tokenizer and text encoder: what it says to the model, and where its phrases are."""

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ...prompt_text import plain_text
from ...quoted import quoted
from .. import keys
from ..comfyui.managed import loaded

_T5 = "t5xxl"  # ComfyUI's name for it among a CLIP's encoders
_SIGNS = ("", "/")  # T5 writes a word in another way where it follows a sign and no space


@dataclass(frozen=True)
class Encoded:
    """A prompt as the text encoder gives it: `context` [1,T,D] and what goes with it (pooled output and such)."""

    context: torch.Tensor
    extras: dict


class MissingPrompt:
    """Conditioning entries that are not there: whoever looks into them is told why, in one sentence.

    ComfyUI's own ExecutionBlocker says nothing to those who only read the history, nor when it comes from the cache.
    No list, since ComfyUI looks into the lists in its cache.
    """

    def __init__(self, sentence: str):
        self.sentence = sentence

    def _refuse(self, *_):
        raise ValueError(self.sentence)

    __iter__ = __len__ = __getitem__ = __add__ = __radd__ = _refuse


def check_clip(clip: CLIP):
    """ValueError with one sentence when a checkpoint loader gave no CLIP, as it does when its file has none."""
    if clip is None:
        raise ValueError(
            "There is no CLIP behind clip: the checkpoint has no text encoder; load one with Load CLIP and connect it."
        )


def encode(clip: CLIP, text: str) -> Encoded:
    """Encode a prompt as CLIPTextEncode does, weights and all."""
    encoded = clip.encode_from_tokens(clip.tokenize(text), return_dict=True)
    return Encoded(encoded.pop("cond"), encoded)


def fused(patcher: ModelPatcher, context: torch.Tensor, positions: list[int], tokens: torch.Tensor) -> torch.Tensor:
    """A context [B,T,D] with tokens [1,P,D] in the words at P positions; `patcher` is the adapter's ModelPatcher."""
    words = context[:, positions].to(patcher.load_device, tokens.dtype)
    with torch.no_grad():
        words = loaded(patcher).fuse(words, tokens.to(words.device).expand(len(words), -1, -1))
    context = context.clone()
    context[:, positions] = words.to(context)
    return context


def with_nobody(negative: list, positive: list, patcher: ModelPatcher) -> list:
    """The negative prompt with what belongs into it where `positive` has a face in it: nothing for most adapters.

    ConsistentID's authors put tokens of an empty picture's parts into the words at the very positions that the parts of
    the face have in the positive prompt, whatever stands there, and from the first step on.
    """
    nobody = next((extras[keys.NOBODY_WORDS] for _, extras in positive if keys.NOBODY_WORDS in extras), None)
    if nobody is None:
        return negative
    return [
        [context, extras]
        if keys.NOBODY_WORDS in extras
        else [fused(patcher, context, *nobody), {**extras, keys.NOBODY_WORDS: nobody}]
        for context, extras in negative
    ]


def token_positions(clip: CLIP, prompt: str, phrases: list[tuple[str, str]], length: int) -> list[tuple[int, ...]]:
    """Positions, in a context of `length` tokens, of (phrase, its end): where the prompt has the phrase, of its end.

    A phrase counts wherever it stands. Weights, embeddings and prompts of several chunks of 77 tokens count as ComfyUI
    counts them; a phrase may begin in one chunk and end in the next. SDXL's two encoders share their positions. FLUX's
    context is of T5's tokens alone, and of SD3's they are the last.
    """
    content, total = _content(clip, prompt)
    first = length - total if _T5 in clip.tokenize("") else 0
    words, pieces = [token for _, token, _ in content], [piece for *_, piece in content]
    found = []
    for phrase, end in phrases:
        texts = [" ".join(plain_text(text).split()) for text in (phrase, end)]
        places: set[int] = set()
        for sign in _SIGNS:
            wanted = _tokens(clip, texts[0], sign)
            kept = len(wanted if texts[0] == texts[1] else _tokens(clip, texts[1]))
            for stop in range(len(wanted), len(words) + 1):
                start = stop - len(wanted)
                if kept and words[start:stop] == wanted and not (_joined(pieces, start) or _joined(pieces, stop)):
                    places.update(first + position for position, *_ in content[stop - kept : stop])
        if not places:
            raise ValueError(
                f"The words {quoted(phrase)} are not among the tokens of the prompt as this CLIP reads it; write them "
                "in the prompt as whole words and connect the CLIP that belongs to the model."
            )
        found.append(tuple(sorted(places)))
    return found


def _tokens(clip, text, sign=""):
    """The tokens of a text behind a sign."""
    return [token for _, token, _ in _content(clip, sign + text)[0][len(_content(clip, sign)[0]) :]]


def _joined(pieces, index):
    """Whether a word goes on from the piece before `index` to the one there."""
    return 0 < index < len(pieces) and pieces[index - 1][-1:].isalnum() and pieces[index][:1].isalnum()


def _content(clip, text):
    """[(position, token, how it is written)] of a text's own tokens, and how many there are with all others.

    An embedding's vectors count, but equal no word.
    """
    by_name = clip.tokenize(text, return_word_ids=True)
    name = _T5 if _T5 in by_name else next(iter(by_name))
    tokenizer = getattr(clip.tokenizer, name, None) or getattr(clip.tokenizer, f"clip_{name}", None)
    written = getattr(tokenizer, "inv_vocab", {})
    content = [
        (position, token, written.get(token, "")) if isinstance(token, int) else (position, None, "")
        for position, token, _ in own_tokens(by_name[name])
    ]
    return content, sum(map(len, by_name[name]))


def own_tokens(chunks: list) -> list[tuple[int, int | torch.Tensor, float]]:
    """(position, token, weight) of what a text says in one encoder's chunks, tokenized with word ids."""
    found, offset = [], 0
    for chunk in chunks:
        for index, (token, weight, word) in enumerate(chunk):
            if word != 0:  # 0 is ComfyUI's word for start, end and padding
                found.append((offset + index, token, weight))
        offset += len(chunk)
    return found
