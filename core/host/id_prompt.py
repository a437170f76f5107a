"""Prompts with a face in them: PhotoMaker's class word and ConsistentID's caption."""

from dataclasses import dataclass

import torch

from ..adapters.consistentid import PARTS
from ..faces.parser import CLASSES
from ..faces.parts import cut_parts
from ..faces.policy import NoFaceError
from .adapter import LoadedAdapter
from .class_word import repeat_class_word, without_trigger
from .detection import choose_faces
from .encoder import check_colours, checked
from .face_context import faced
from .managed import loaded
from .parser import find_parser
from .person import Sources, gather
from .prompt import IN_PROMPT, check_clip, own_tokens
from .twins import PLAIN_KEY
from .vision import check_vision, see

_PARSER_SOURCE = "ConsistentID's face_parsing.pth, JackAILab/ConsistentID on Hugging Face, or facexlib's copy of it"


@dataclass(frozen=True)
class _Fusing:
    """What is fused: conditioning entries, the positions of the words in their context, and the tokens for these.

    `plain`: what the prompt is before the face is merged in.
    """

    entries: list
    positions: list[int]
    tokens: torch.Tensor
    plain: list


def encode(clip, adapter: LoadedAdapter, prompt: str, sources: Sources, trigger: str, start_merge_at: float) -> list:
    """The prompt as CONDITIONING with the face in it from `start_merge_at` (0..1 of the denoising) on, without before.

    At 1, or without a face where `sources.on_no_face` allows that, it is what CLIPTextEncode makes of the prompt
    without the trigger. ValueError with one sentence for what is missing or does not fit.
    """
    check_clip(clip)
    spec = adapter.spec
    if not spec.in_prompt:
        raise ValueError(
            f"{adapter.file_name} is {spec.named}, which puts no face into the prompt; encode the prompt with CLIP "
            "Text Encode and give the adapter to ApplyIDAdapter."
        )
    has_trigger = spec.family == "photomaker"
    plain = _encoded(clip, clip.tokenize(without_trigger(prompt, trigger) if has_trigger else prompt))
    _check_width(adapter, plain)
    if start_merge_at >= 1:
        return plain
    fusing = (_class_word if has_trigger else _caption)(clip, adapter, prompt, sources, trigger, plain)
    if fusing is None:
        return plain
    fused = [
        [faced(_fused(adapter, fusing, context), context), {**options, PLAIN_KEY: context}]
        for context, options in fusing.entries
    ]
    if start_merge_at <= 0:
        return fused
    return _during(fusing.plain, 0.0, start_merge_at) + _during(fused, start_merge_at, 1.0)


def _encoded(clip, tokens):
    return clip.encode_from_tokens_scheduled(tokens, add_dict={IN_PROMPT: True})


def _check_width(adapter, entries):
    spec, width = adapter.spec, entries[0][0].shape[-1]
    if width != spec.token_dim:
        raise ValueError(
            f"{adapter.file_name} is {spec.named} for {spec.fits}, but the connected clip has text width {width}; "
            "connect the CLIP of the model that the adapter is for."
        )


def _fused(adapter, fusing, context):
    words = context[:, fusing.positions].to(fusing.tokens)
    with torch.no_grad():
        words = loaded(adapter.patcher).fuse(words, fusing.tokens)
    context = context.clone()
    context[:, fusing.positions] = words.to(context)
    return context


def _during(entries, start, end):
    return [[context, {**options, "start_percent": start, "end_percent": end}] for context, options in entries]


def _class_word(clip, adapter, prompt, sources, trigger, plain):
    person = gather(adapter.spec, adapter.file_name, sources, adapter.patcher.load_device)
    if person.is_nothing:
        return None
    with torch.no_grad():
        tokens = loaded(adapter.patcher).project(person.face)
    repeated = repeat_class_word(clip, prompt, trigger, tokens.shape[1])
    return _Fusing(_encoded(clip, repeated.tokens), repeated.positions, tokens, plain)


def _caption(clip, adapter, prompt, sources, trigger, plain):
    spec = adapter.spec
    if sources.image is None:
        raise ValueError(f"{adapter.file_name} looks at the parts of the face; connect image, a portrait.")
    check_vision(spec.look, sources.clip_vision, adapter.file_name)
    parser = find_parser()
    if parser is None:
        raise ValueError(
            f"{adapter.file_name} looks at the parts of the face, which a face parser finds; put one "
            f"({_PARSER_SOURCE}) into models/face_parsing."
        )
    image = _first_portrait(sources)
    if image is None:
        return None
    numbers = [[CLASSES.index(name) for name in part] for part in PARTS]
    labels = parser.labels(image)
    pictures, parts = cut_parts(image.to(labels.device), labels, numbers)
    if not parts:
        if sources.on_no_face == "passthrough":
            return None
        raise NoFaceError(
            f"The face parser {parser.file_name} sees no part of a face in image; connect a portrait that the face "
            "fills a good part of, or set on_no_face to passthrough."
        )
    seen, _ = see(spec.look, pictures.movedim(-1, 1), sources.clip_vision, adapter.file_name)
    module = loaded(adapter.patcher)
    with torch.no_grad():
        tokens = module.part_tokens(seen.hidden[0].to(adapter.patcher.load_device))
    opening, phrases = module.caption(parts)
    text = prompt + opening + " ".join(f"{phrase}," for phrase in phrases)
    entries = _encoded(clip, clip.tokenize(text))
    return _Fusing(entries, _last_words(clip, text, phrases), tokens, entries)


def _first_portrait(sources):
    """The first photograph, or the first with a face where an encoder is there to find it; None when none has one."""
    image = check_colours(checked(sources.image)).float()
    if sources.encoder is None:
        return image[:1]
    faces = choose_faces(sources.encoder, image, "largest", "0", sources.on_no_face, at_least_one=True)
    first = next((index for index, count in enumerate(faces.counts) if count), None)
    return None if first is None else image[first : first + 1]


def _last_words(clip, text, phrases):
    """Positions of the phrases' last tokens; the phrases, a comma behind each, are the end of the text."""

    def said(words):
        return own_tokens(next(iter(clip.tokenize(words, return_word_ids=True).values())))

    comma = len(said(","))
    lengths = [len(said(phrase)) + comma for phrase in phrases]
    positions = [position for position, *_ in said(text)][-sum(lengths) :]
    return [positions[sum(lengths[: index + 1]) - comma - 1] for index in range(len(lengths))]
