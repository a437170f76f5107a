"""Prompts with a face in them: PhotoMaker's class word and ConsistentID's caption."""

from dataclasses import dataclass

import torch
from comfy.sd import CLIP

from ...adapters.consistentid import PARTS
from ...faces.policy import NoFaceError
from ...faces.regions.parser import CLASSES
from ...faces.regions.parts import cut_parts
from .. import keys
from ..adapters.adapter import LoadedAdapter
from ..comfyui.images import as_image, check_colours
from ..comfyui.managed import loaded
from ..conditioning.face_context import faced
from ..conditioning.prompt import check_clip, fused, own_tokens
from ..faces.detection import choose_faces
from ..faces.parser import needed_parser
from ..who.person import Sources, gather
from ..who.vision import check_vision, see
from .class_word import repeat_class_word, without_trigger

_ROOM = 77  # tokens in one of CLIP's contexts, start and end among them


@dataclass(frozen=True)
class _Fusing:
    """What is fused: conditioning entries, the positions of the words in their context, and the tokens for these.

    `plain`: what the prompt is before the face is merged in. `nobody`: the tokens for the negative prompt, if any.
    """

    entries: list
    positions: list[int]
    tokens: torch.Tensor
    plain: list
    nobody: torch.Tensor | None = None


def encode_id_prompt(
    clip: CLIP, adapter: LoadedAdapter, prompt: str, sources: Sources, trigger: str, start_merge_at: float
) -> list:
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
    merged = _merged(adapter, fusing)
    if start_merge_at <= 0:
        return merged
    return _during(fusing.plain, 0.0, start_merge_at, start_merge_at) + _during(
        merged, start_merge_at, 1.0, start_merge_at
    )


def _encoded(clip, tokens):
    return clip.encode_from_tokens_scheduled(tokens, add_dict={keys.IN_PROMPT: True})


def _check_width(adapter, entries):
    spec, width = adapter.spec, entries[0][0].shape[-1]
    if width != spec.token_dim:
        raise ValueError(
            f"{adapter.file_name} is {spec.named} for {spec.fits}, but the connected clip has text width {width}; "
            "connect the CLIP of the model that the adapter is for."
        )


def _merged(adapter, fusing):
    nobody = {} if fusing.nobody is None else {keys.NOBODY_WORDS: (fusing.positions, fusing.nobody)}
    return [
        [
            faced(fused(adapter.patcher, context, fusing.positions, fusing.tokens), context),
            {**options, **nobody, keys.PLAIN: context},
        ]
        for context, options in fusing.entries
    ]


def _during(entries, start, end, merge_at):
    span = {"start_percent": start, "end_percent": end, keys.MERGE_AT: merge_at}
    return [[context, {**options, **span}] for context, options in entries]


def _class_word(clip, adapter, prompt, sources, trigger, plain):
    person = gather(adapter.spec, adapter.file_name, sources, adapter.patcher.load_device)
    if person.is_empty:
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
    parser = needed_parser(f"{adapter.file_name} looks at the parts of the face")
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
    seen, empty = see(spec.look, pictures.movedim(-1, 1), sources.clip_vision, adapter.file_name)
    module, device = loaded(adapter.patcher), adapter.patcher.load_device
    with torch.no_grad():
        tokens, nobody = (module.part_tokens(one.hidden[0].to(device)) for one in (seen, empty))
    text, positions = _with_caption(clip, prompt, *module.caption(parts))
    entries = _encoded(clip, clip.tokenize(text))
    nobody = nobody.expand(-1, len(parts), -1).cpu()  # host read: conditioning lives on the CPU
    return _Fusing(entries, positions, tokens, entries if module.plain_has_caption else plain, nobody)


def _first_portrait(sources):
    """The first photograph, or the first with a face where an encoder is there to find it; None when none has one."""
    image = check_colours(as_image(sources.image)).float()
    if sources.encoder is None:
        return image[:1]
    faces = choose_faces(sources.encoder, image, "largest", "0", sources.on_no_face, at_least_one=True)
    first = next((index for index, count in enumerate(faces.counts) if count), None)
    return None if first is None else image[first : first + 1]


def _with_caption(clip, prompt, opening, phrases):
    """The prompt with the caption, and the positions of its phrases' last tokens.

    The caption stands behind the prompt, or, as the authors have it, in front where both do not fit into one of CLIP's
    contexts (with a mark for each phrase, which they count). There they cut the prompt's end off; here it goes on in a
    context of its own, as every long prompt in ComfyUI.
    """
    said = opening + " ".join(f"{phrase}," for phrase in phrases)
    behind = prompt + said
    spots = _spots(clip, behind)
    comma = len(_spots(clip, ","))
    lengths = [len(_spots(clip, phrase)) + comma for phrase in phrases]
    if len(spots) + len(phrases) + 2 <= _ROOM:
        text, first = behind, len(spots) - sum(lengths)
    else:
        text, first = f"{said} Caption:{prompt}", len(_spots(clip, opening))
        spots = _spots(clip, text)
    return text, [spots[first + sum(lengths[: index + 1]) - comma - 1] for index in range(len(lengths))]


def _spots(clip, text):
    """The positions of a text's own tokens in the context."""
    chunks = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    return [position for position, *_ in own_tokens(chunks)]
