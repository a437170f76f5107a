"""Arc2Face in ComfyUI: its text encoder loaded by ComfyUI's own loader, against transformers with the same weights."""

import pytest
import torch
from likeness.core.faces.identity.identity import combine_identity
from node_cases import face, outputs, sentence
from prompt_cases import clip
from torch.nn import functional as F

WIDTH = 576


@pytest.fixture(scope="module")
def reference():
    """A narrow text encoder of transformers' own, which Arc2Face's was trained in."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_attention_heads=9, num_hidden_layers=2, eos_token_id=49407
    )
    torch.manual_seed(3)
    return CLIPTextModel(config).eval()


@pytest.fixture(scope="module")
def encoder_clip(reference):
    """The same through ComfyUI's CLIP loader, from the keys of Hugging Face's pytorch_model.bin."""
    import comfy.sd

    config = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 9, "num_hidden_layers": 2}
    state = {
        key if key.startswith("text_model.") else f"text_model.{key}": value.clone()
        for key, value in reference.state_dict().items()
    }
    options = {"model_config": config, "dtype": torch.float32}
    return comfy.sd.load_text_encoder_state_dicts([state], model_options=options)


def somebody(dim=512, count=1, space="arcface:12345678"):
    vectors = 20 * torch.randn(count, dim, generator=torch.Generator().manual_seed(4))
    return combine_identity(space, vectors, torch.ones(count), "mean")[0]


@pytest.mark.parametrize("count", [1, 3])
def test_the_face_is_the_fifth_token(pack, reference, encoder_clip, count):
    person = somebody(count=count)
    [[[context, _]]] = outputs(pack, "Arc2FaceTextEncode", clip=encoder_clip, identity=person, on_no_face="error")
    ids = torch.tensor([[49406, 1125, 539, 320, 1014, 2533, *[49407] * 71]])
    token = F.pad(person.vector / person.vector.norm(), (0, WIDTH - 512))

    def put_in(module, inputs, rows):
        return torch.cat([rows[:, :4], token.expand(1, 1, -1), rows[:, 5:]], 1)

    hook = reference.get_input_embeddings().register_forward_hook(put_in)
    with torch.no_grad():
        expected = reference(ids).last_hidden_state
    hook.remove()
    torch.testing.assert_close(context, expected, atol=1e-4, rtol=0)


def test_who_and_what_does_not_fit(pack, encoder_clip):
    def said(**given):
        return sentence(pack, "Arc2FaceTextEncode", on_no_face="error", **given)

    person = somebody()
    assert "takes one person: connect either identity" in said(clip=encoder_clip)
    assert "takes one person" in said(clip=encoder_clip, image=face("A", 64))
    text = said(clip=encoder_clip, identity=somebody(dim=128, space="dlib-resnet34-128"))
    assert "takes faces of 512 numbers" in text and "dlib-resnet34-128 (128 numbers)" in text
    assert "(1 encoders, text width 48)" in said(clip=clip("sd15"), identity=person)
    assert "(2 encoders, text width 64)" in said(clip=clip("sdxl"), identity=person)
    assert "the checkpoint has no text encoder" in said(clip=None, identity=person)
