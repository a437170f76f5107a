"""Ready-made material for tests of prompts with a face in them."""

import torch
from cure_cases import clip
from host_cases import loaded_adapter
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.host.prompts import id_prompt
from likeness.core.host.who.person import Sources

SPACE = "buffalo_l-w600k_r50"


def encode(adapter, prompt, kind="sdxl", trigger="img", start_merge_at=0.0, text_encoder=None, **sources):
    """IDTextEncode's work."""
    sources = Sources(**sources)
    made = clip(kind) if text_encoder is None else text_encoder
    return id_prompt.encode_id_prompt(made, adapter, prompt, sources, trigger, start_merge_at)


def text_encode(prompt, kind="sdxl"):
    """CLIPTextEncode's work."""
    made = clip(kind)
    return made.encode_from_tokens_scheduled(made.tokenize(prompt))


def token_ids(prompt, kind="sdxl"):
    """A short prompt's own tokens as numbers."""
    chunk = next(iter(clip(kind).tokenize(prompt).values()))[0]
    return [token for token, _ in chunk[1:]][: [token for token, _ in chunk].index(49407) - 1]


def encode_ids(ids, kind="sdxl"):
    """The context of token numbers without weights, in one chunk, framed as each encoder wants it."""
    framed = {}
    for name, padding in (("l", 49407), ("g", 0))[: 2 if kind == "sdxl" else 1]:
        row = [49406, *ids, 49407]
        framed[name] = [[(token, 1.0) for token in row + [padding] * (77 - len(row))]]
    return clip(kind).encode_from_tokens(framed)


def photographs(count, seed=3):
    """Pictures [N,40,32,3] that differ."""
    return torch.rand(count, 40, 32, 3, generator=torch.Generator().manual_seed(seed))


def person(count=1):
    """Somebody of `count` photographs, in PhotoMaker V2's space."""
    vectors = 20 * torch.randn(count, 512, generator=torch.Generator().manual_seed(4)) / 512**0.5
    return combine_identity(SPACE, vectors, torch.ones(count), "mean")[0]


def photomaker_adapter(version):
    from tiny.photomaker import photomaker

    return loaded_adapter(photomaker(version), f"photomaker-{version}.bin")


def who(version, count=1):
    """The sources of a person for a version of PhotoMaker."""
    given = {"image": photographs(count)}
    return given | ({"identity": person(count)} if version == "v2" else {})
