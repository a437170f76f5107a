"""A prompt through ComfyUI's own tokenizer and text encoder: what it says to the model, and where its phrases are."""

from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ...prompt_text import plain_text
from ...quoted import quoted
from .. import keys
from ..comfyui.managed import loaded


@dataclass(frozen=True)
class Encoded:
    """A prompt as the text encoder gives it: `context` [1,T,D] and what goes with it (pooled output and such)."""

    context: torch.Tensor
    extras: dict


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


def token_positions(clip: CLIP, prompt: str, phrases: list[tuple[str, str]]) -> list[tuple[int, ...]]:
    """Positions in the context of the tokens of (phrase, its end): where the prompt has the phrase, those of its end.

    A phrase counts wherever it stands. Weights, embeddings and prompts of several chunks of 77 tokens count as ComfyUI
    counts them; a phrase may begin in one chunk and end in the next. SDXL's two encoders share their positions.
    """
    content = _content(clip, prompt)
    words = [token for _, token in content]
    found = []
    for phrase, end in phrases:
        wanted, kept = (_tokens(clip, plain_text(text)) for text in (phrase, end))
        stops = [i for i in range(len(wanted), len(words) + 1) if words[i - len(wanted) : i] == wanted]
        if not stops or not kept:
            raise ValueError(
                f"The words {quoted(phrase)} are not among the tokens of the prompt as this CLIP reads it; write them "
                "in the prompt as whole words and connect the CLIP that belongs to the model."
            )
        found.append(tuple(content[i][0] for stop in stops for i in range(stop - len(kept), stop)))
    return found


def _tokens(clip, text):
    return [token for _, token in _content(clip, text)]


def _content(clip, text):
    """(position in the context, token) of a text's own tokens; an embedding's vectors count, but equal no word."""
    chunks = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    return [(position, token if isinstance(token, int) else None) for position, token, _ in own_tokens(chunks)]


def own_tokens(chunks: list) -> list[tuple[int, int | torch.Tensor, float]]:
    """(position, token, weight) of what a text says in one encoder's chunks, tokenized with word ids."""
    found, offset = [], 0
    for chunk in chunks:
        for index, (token, weight, word) in enumerate(chunk):
            if word != 0:  # 0 is ComfyUI's word for start, end and padding
                found.append((offset + index, token, weight))
        offset += len(chunk)
    return found
