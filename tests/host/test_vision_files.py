"""What adapters look through from files of their own, SigLIP's, and faces described with their colours swapped."""

import logging
import os
from dataclasses import replace

import pytest
import torch
from host_cases import SPACE
from likeness.core.adapters import AdapterSpec, Look
from likeness.core.faces.crops import CROPS
from likeness.core.host.adapters.adapter import LoadedAdapter
from likeness.core.host.who import person, vision_files
from likeness.core.vision.siglip import load_siglip
from node_cases import face
from safetensors.torch import save_file
from tiny.siglip import SIZES, siglip

NAMES = {"siglip-b256": "siglip-base-patch16-256-i18n/model.safetensors",
         "siglip-so400m": "sigclip_vision_patch14_384.safetensors"}  # fmt: skip
SPEC = AdapterSpec(
    "withanyone", "WithAnyone", "", 8, 32, (64,), face_dim=128, face_space=SPACE,
    look=Look("siglip-b256", "square", 512),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(pack):
    """Both files under the names that artists have them by, beside another SigLIP without its head."""
    made = pack.base / "models/clip_vision"
    for name, file in NAMES.items():
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensor.half() for key, tensor in siglip(name).items()}, made / file)
    headless = {key: tensor for key, tensor in siglip("siglip-b256").items() if ".head." not in key}
    torch.save(headless, made / "a_siglip_without_a_head.pt")
    os.utime(made)
    yield made
    for file in (*NAMES.values(), "a_siglip_without_a_head.pt"):
        (made / file).unlink(missing_ok=True)
    (made / NAMES["siglip-b256"]).parent.rmdir()


def gathered(spec, eyes=None, **sources):
    return person.gather(spec, "with.safetensors", person.Sources(**sources), torch.device("cpu"), eyes)


@pytest.mark.parametrize("name", NAMES)
def test_what_siglip_sees_of_a_face(folder, encoder, name):
    spec, image = replace(SPEC, look=Look(name, "square", 512)), face("A")
    loaded = LoadedAdapter("with.safetensors", spec, None)
    found = gathered(spec, lambda: loaded.eyes, encoder=encoder, image=image)
    crop = CROPS["square"](512).chips(image, encoder.detect(image).select("largest", "0"), None)
    width, patch, side = SIZES[name]
    stored = {key: tensor.half() for key, tensor in siglip(name).items()}
    pooled, (hidden,) = load_siglip(stored, width, side, dtype=torch.float32)(crop)
    assert hidden.shape == (1, (side // patch) ** 2, width)
    torch.testing.assert_close(found.face.seen.hidden[0], hidden, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.face.seen.pooled, pooled, atol=1e-4, rtol=1e-4)
    nobody = found.nobody
    assert not any(tensor.any() for tensor in (nobody.vectors, nobody.seen.pooled, *nobody.seen.hidden))
    assert nobody.seen.hidden[0].shape == hidden.shape and nobody.seen.pooled.shape == pooled.shape
    assert loaded.get_models() == [loaded.eyes] and loaded.eyes is loaded.eyes  # read once, kept with the adapter


def test_several_whole_photographs(folder, encoder):
    spec = replace(SPEC, each=4, together=True, look=Look("siglip-b256", "whole", 512))
    image = torch.cat([face("A"), face("A").flip(2)])
    loaded = LoadedAdapter("with.safetensors", spec, None)
    found = gathered(spec, lambda: loaded.eyes, encoder=encoder, image=image)
    assert len(found.face.vectors) == len(found.face.seen.pooled) == 2 and len(found.nobody.seen.pooled) == 1


def test_what_is_missing_is_asked_for(folder, caplog):
    path, away = folder / NAMES["siglip-b256"], folder / "away"
    before = vision_files.vision_fingerprint()
    path.rename(away)
    for changed in (folder, path.parent):
        os.utime(changed)
    try:
        assert vision_files.vision_fingerprint() != before
        with caplog.at_level(logging.WARNING), pytest.raises(ValueError) as caught:
            vision_files.find_vision("siglip-b256", "with.safetensors")
        assert str(caught.value) == (
            "with.safetensors looks at the picture through SigLIP-base-patch16-256, and no file in models/clip_vision, "
            "text_encoders, pulid holds it; put google/siglip-base-patch16-256-i18n, model.safetensors, on Hugging "
            "Face into models/clip_vision."
        )
        assert "a_siglip_without_a_head.pt is a CLIP vision model, and no SigLIP with its head" in caplog.text
        assert "sigclip_vision_patch14_384.safetensors is a SigLIP of 1152 channels for 729 patches" in caplog.text
        vision_files.find_vision("siglip-so400m", "instantx.bin")
    finally:
        away.rename(path)
        for changed in (folder, path.parent):
            os.utime(changed)
    with pytest.raises(ValueError, match="connect image and face_encoder, which finds the face in it"):
        gathered(SPEC)
