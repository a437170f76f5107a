"""ConsistentID in ComfyUI: parts of the face, cut out by the parser and seen by CLIP, in the words of a caption."""

import logging
import shutil

import pytest
import torch
from host_cases import conditioning
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.faces.regions.parser import CLASSES
from likeness.core.host.adapters import adapter
from likeness.core.host.conditioning import prompt as prompt_module
from likeness.core.host.faces.parser import find_parser
from likeness.core.host.prompts import id_prompt
from likeness.core.host.who import person as person_module
from likeness.core.vision.clip_tower import clip_square
from node_cases import face, sentence
from parser_files import reference
from prompt_cases import SPACE, clip, encode, encode_ids, text_encode, token_ids
from references.fusing import fused, linear, norm, perceiver_layer
from tiny.consistentid import DEPTH, consistentid
from torch.nn import functional as F

PROMPT = "a man in a forest"
WORDS = {
    "sd15": ["The person has one face", "two ears", "two eyes", "one nose", "and one mouth"],
    "sdxl": ["The person has one face", "two ears", "two eyes", "one nose", "and a mouth"],
}
IN_TURN = [("skin", ""), ("l_eye", "r_eye"), ("l_ear", "r_ear"), ("nose", ""), ("u_lip", "l_lip")]


@pytest.fixture(scope="module")
def parser(pack):
    """A face parser that finds something everywhere, in models/face_parsing."""
    folder = pack.base / "models/face_parsing"
    folder.mkdir(exist_ok=True)
    torch.save(reference(seed=3).state_dict(), folder / "face_parsing.pth")
    yield find_parser()
    shutil.rmtree(folder)


@pytest.fixture
def no_parser(pack):
    """models/face_parsing without what is in it."""
    folder, away = pack.base / "models/face_parsing", pack.base / "models/face_parsing.away"
    if folder.exists():
        folder.rename(away)
    yield
    if away.exists():
        away.rename(folder)


@pytest.fixture(scope="module")
def clip_vision(comfyui, tmp_path_factory):
    from tiny.vision import clip_vision

    return clip_vision(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def adapters():
    from host_cases import loaded_adapter

    return {kind: loaded_adapter(consistentid(kind), f"ConsistentID-{kind}.bin") for kind in WORDS}


def parts_plainly(parser, image, clip_vision):
    """The parts that are there, as CLIP sees them, in the order of their numbers."""
    import cv2
    import numpy as np

    labels = parser.labels(image)[0]
    found, pictures = [], []
    for part, pair in enumerate(IN_TURN):
        number = next((CLASSES.index(name) for name in pair if name and (labels == CLASSES.index(name)).any()), None)
        if number is None:
            continue
        mask = np.zeros(labels.shape, np.uint8)
        outlines, _ = cv2.findContours(
            (labels == number).numpy().astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        mask = torch.from_numpy(cv2.drawContours(mask, outlines, -1, 1, cv2.FILLED)).float()[None, None]
        mask = F.interpolate(mask, image.shape[1:3], mode="bicubic", antialias=True).clamp(0, 1)[0, 0, :, :, None]
        found.append(part)
        pictures.append(image[0] * mask)
    pictures = clip_square(torch.stack(pictures).movedim(-1, 1), clip_vision.image_size).movedim(1, -1)
    return found, clip_vision.encode_image(pictures).penultimate_hidden_states


def part_tokens(hidden, kind):
    """CLIP's hidden states of P pictures -> [1,P,D], by the formula."""
    tensors, stem = consistentid(kind)["FacialEncoder"], "visual_projection."
    x, latents = linear(hidden, tensors, f"{stem}proj_in"), tensors[f"{stem}latents"].repeat(len(hidden), 1, 1)
    for layer in range(DEPTH):
        latents = perceiver_layer(x, latents, tensors, f"{stem}layers.{layer}.", dim_head=64)
    return norm(linear(latents, tensors, f"{stem}proj_out"), tensors, f"{stem}norm_out").reshape(1, len(hidden), -1)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_parts_go_into_the_words_of_the_caption(adapters, parser, clip_vision, kind):
    image = face("A", 96)
    source = {"image": torch.cat([image, face("A", 96).flip(2)]), "clip_vision": clip_vision}
    [[plain, before], [context, after]] = encode(adapters[kind], PROMPT, kind, start_merge_at=0.6, **source)
    assert (before["start_percent"], before["end_percent"]) == (0.0, 0.6)
    assert (after["start_percent"], after["end_percent"]) == (0.6, 1.0)

    found, hidden = parts_plainly(parser, image, clip_vision)
    assert len(found) > 2
    said = [phrase for part, phrase in zip((0, 2, 1, 3, 4), WORDS[kind], strict=True) if part in found]
    ids, positions = token_ids(PROMPT + ("Detail:" if kind == "sd15" else "; Detail:"), kind), []
    for phrase in said:
        ids += token_ids(phrase, kind)
        positions.append(len(ids))
        ids += token_ids(",", kind)
    with_caption, [[bare, alone]] = encode_ids(ids, kind), text_encode(PROMPT, kind)
    if kind == "sd15":
        assert torch.equal(plain, with_caption)
    else:  # SDXL's is the bare prompt before the face is in it, with its own pooled output
        assert torch.equal(plain, bare) and torch.equal(before["pooled_output"], alone["pooled_output"])
        assert not torch.equal(after["pooled_output"], alone["pooled_output"])
    others = [at for at in range(77) if at not in positions]
    tokens = part_tokens(hidden, kind)
    expected = fused(with_caption[:, positions], tokens, consistentid(kind)["FacialEncoder"])
    torch.testing.assert_close(context[:, positions], expected, atol=1e-4, rtol=0)
    assert torch.equal(context[:, others], with_caption[:, others])

    # the negative prompt: tokens of nothing, zeros after normalisation, at the same positions
    size = clip_vision.image_size
    with torch.inference_mode():
        _, nothing, *_ = clip_vision.model(pixel_values=torch.zeros(1, 3, size, size), intermediate_output=-2)
    positive = [[plain, before], [context, after]]
    [[text, options]] = negative = text_encode("blurry", kind)
    [[became, marked]] = twice = prompt_module.with_nobody(negative, positive, adapters[kind].patcher)
    empty = part_tokens(nothing, kind).expand(-1, len(found), -1)
    expected = fused(text[:, positions], empty, consistentid(kind)["FacialEncoder"])
    torch.testing.assert_close(became[:, positions], expected, atol=1e-4, rtol=0)
    assert torch.equal(became[:, others], text[:, others]) and (became - text).abs().max() > 0.1
    assert torch.equal(text, text_encode("blurry", kind)[0][0]) and options.keys() < marked.keys()
    assert prompt_module.with_nobody(twice, positive, adapters[kind].patcher)[0][0] is became  # once is enough

    [[alone, _]] = encode(adapters[kind], PROMPT, kind, start_merge_at=1.0, **source)
    assert torch.equal(alone, text_encode(PROMPT, kind)[0][0])


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize("room", [0, -1, -40])
def test_a_prompt_that_leaves_no_room_goes_behind_the_caption(kind, room):
    """With a mark for each phrase, prompt and caption have to fit into 77 tokens with start and end, as the authors
    count; what is over is no reason to cut anything off."""
    opening, phrases = "Detail:" if kind == "sd15" else "; Detail:", WORDS[kind]
    said = opening + " ".join(f"{phrase}," for phrase in phrases)
    words = 77 - 2 - len(phrases) - len(token_ids(f". {said}", kind)) - room
    prompt = "(snow:1.3)" + " snow" * (words - 1) + ". "
    text, positions = id_prompt._with_caption(clip(kind), prompt, opening, phrases)
    assert text == (prompt + said if room >= 0 else f"{said} Caption:{prompt}")
    chunks = next(iter(clip(kind).tokenize(text).values()))
    tokens = [token for chunk in chunks for token, _ in chunk]
    assert [tokens[at] for at in positions] == [token_ids(phrase, kind)[-1] for phrase in phrases]
    [snow] = token_ids("snow", kind)
    assert tokens.count(snow) == words and max(positions) < 77 and len(chunks) == (2 if room == -40 else 1)


def test_the_whole_with_apply_id_adapter(adapters, parser, clip_vision, caplog):
    from tiny.unet import unet

    vectors = torch.randn(1, 512, generator=torch.Generator().manual_seed(1))
    person, _ = combine_identity(SPACE, vectors, torch.ones(1), "mean")
    sources = person_module.Sources(person, image=face("A", 96), clip_vision=clip_vision)
    positive = encode(
        adapters["sd15"], PROMPT, "sd15", start_merge_at=0.6, image=sources.image, clip_vision=clip_vision
    )
    model, negative = unet("sd15"), conditioning("sd15", seed=2)
    with caplog.at_level(logging.WARNING):
        strength = adapter.Strength(1.0)
        patched, after, unlike, _ = adapter.apply_adapter(
            model, positive, negative, adapters["sd15"], sources, strength
        )
        assert not caplog.records and after is positive
        assert not torch.equal(unlike[0][0], negative[0][0]) and unlike[0][1]["pooled_output"] is not None
        unapplied = adapter.apply_adapter(model, positive, negative, adapters["sd15"], sources, adapter.Strength(0.0))
        assert unapplied[2] is negative
        adapter.apply_adapter(
            model, text_encode(PROMPT, "sd15"), negative, adapters["sd15"], sources, adapter.Strength(1.0)
        )
    assert "encode the positive prompt with ID Text Encode" in caplog.text
    assert len(patched.patches) == 128


def test_what_is_missing(pack, adapters, clip_vision, no_parser):
    asked = {
        "clip": clip("sd15"), "adapter": adapters["sd15"], "prompt": PROMPT, "trigger": "img", "start_merge_at": 0.6,
        "on_no_face": "error", "image": face("A", 96), "clip_vision": clip_vision,
    }  # fmt: skip
    text = sentence(pack, "IDTextEncode", **asked)
    assert "face_parsing.pth" in text and "models/face_parsing" in text
    text = sentence(pack, "IDTextEncode", **{key: value for key, value in asked.items() if key != "clip_vision"})
    assert "CLIP-ViT-H-14" in text and "Load CLIP Vision" in text
    text = sentence(pack, "IDTextEncode", **{key: value for key, value in asked.items() if key != "image"})
    assert "connect image, a portrait" in text
