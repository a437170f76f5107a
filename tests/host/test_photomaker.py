"""PhotoMaker in ComfyUI: the class word's copies carry the face, everything else stays what CLIPTextEncode makes."""

import pytest
import torch
from host_cases import conditioning, sample
from likeness.core import adapters as adapters_module
from likeness.core.host.adapters import adapter as adapter_module
from likeness.core.host.prompts.class_word import repeat_class_word
from likeness.core.host.sampling import twins as twins_module
from likeness.core.host.who.person import Sources
from node_cases import blank, outputs, sentence
from prompt_cases import (
    clip,
    encode,
    encode_ids,
    person,
    photographs,
    photomaker_adapter,
    text_encode,
    token_ids,
    who,
)  # fmt: skip
from references.fusing import fused
from tiny.photomaker import in_pefts_wrapper, photomaker

PROMPT, PLAIN = "photo of a woman img, red hair", "photo of a woman, red hair"
TOKENS = {"v1": 1, "v2": 2}


@pytest.fixture(scope="module")
def adapters():
    return {version: photomaker_adapter(version) for version in TOKENS}


@pytest.fixture(params=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture(scope="module")
def sdxl(comfyui):
    from tiny.unet import unet

    return unet("sdxl")


def identity_tokens(adapter, version, count):
    seen = adapters_module.Seen((photographs(count).movedim(-1, 1),))
    vectors = person(count).vectors if version == "v2" else None
    with torch.no_grad():
        return adapter.patcher.model.project(adapters_module.FaceInput(vectors, seen))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("word", ["woman", "grandmothers"])
def test_copies_of_the_class_word_carry_the_photographs(adapters, version, count, word):
    """As the paper has it: the last token before the trigger, as often as there are tokens, each with one fused in."""
    prompt = f"photo of a {word} img, red hair"
    [[context, options]] = encode(adapters[version], prompt, **who(version, count))
    copies, ids = count * TOKENS[version], token_ids(f"photo of a {word}")
    plain = encode_ids(ids + ids[-1:] * (copies - 1) + token_ids(", red hair"))
    words = slice(len(ids), len(ids) + copies)
    tokens = identity_tokens(adapters[version], version, count)
    expected = fused(plain[:, words], tokens, photomaker(version)["id_encoder"])
    torch.testing.assert_close(context[:, words], expected, atol=1e-4, rtol=0)
    others = [at for at in range(77) if at not in range(words.start, words.stop)]
    assert torch.equal(context[:, others], plain[:, others])
    assert (context[:, words] - plain[:, words]).abs().amax(-1).min() > 0.01
    assert options["pooled_output"].shape == (1, 32)


def test_weights_in_the_prompt_keep_working(adapters):
    prompt = "photo of a (woman img:0.8), (curly red hair:1.3) in [snow]"
    [[context, _]] = encode(adapters["v1"], prompt, **who("v1", 3))
    [[plain, _]] = text_encode("photo of a (woman woman woman:0.8), (curly red hair:1.3) in [snow]")
    others = [at for at in range(77) if at not in (4, 5, 6)]
    assert torch.equal(context[:, others], plain[:, others])
    tokens = identity_tokens(adapters["v1"], "v1", 3)
    expected = fused(plain[:, 4:7], tokens, photomaker("v1")["id_encoder"])
    torch.testing.assert_close(context[:, 4:7], expected, atol=1e-4, rtol=0)


def test_when_the_face_is_merged_in(adapters, version):
    adapter, source = adapters[version], who(version, 2)
    made = [encode(adapter, PROMPT, start_merge_at=start, **source) for start in (0.0, 0.2, 1.0)]
    [[face, options]], [[first, before], [second, after]], [[alone, never]] = made
    [[plain, expected]] = text_encode(PLAIN)
    assert torch.equal(alone, plain) and torch.equal(never["pooled_output"], expected["pooled_output"])
    assert torch.equal(first, plain) and torch.equal(second, face)
    assert (before["start_percent"], before["end_percent"]) == (0.0, 0.2)
    assert (after["start_percent"], after["end_percent"]) == (0.2, 1.0)
    assert "start_percent" not in options and "start_percent" not in never
    again = encode(adapter, PROMPT, start_merge_at=0.2, **source)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(made[1], again, strict=True))


def test_the_sampler_heeds_when(adapters, sdxl):
    """Two steps with the face in the prompt of the second alone: neither as without it nor as with it in both."""
    source, negative = who("v1", 2), conditioning(seed=2)
    starts = (0.0, 0.01, 0.3, 1.0)  # the first step is at 0, the second at about a half
    made = [sample(sdxl, encode(adapters["v1"], PROMPT, start_merge_at=start, **source), negative) for start in starts]
    assert torch.equal(made[1], made[2])
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[3], made[1])


def test_copies_stay_together_in_a_long_prompt(adapters):
    words = " ".join(["red"] * 72)
    [[context, _]] = encode(adapters["v2"], f"{words} woman img, hat", **who("v2", 2))
    assert context.shape[1] == 154
    made = repeat_class_word(clip("sdxl"), f"{words} woman img, hat", "img", 4)
    assert made.positions == [78, 79, 80, 81]
    for name, padding in (("l", 49407), ("g", 0)):
        first, second = ([token for token, _ in chunk] for chunk in made.tokens[name])
        assert first == [49406, *token_ids("red") * 72, 49407, *[padding] * 3]
        assert second[:8] == [49406, *token_ids("woman") * 4, *token_ids(", hat"), 49407] and second[-1] == padding


def test_a_trigger_with_a_weight_of_its_own_and_another_word(adapters):
    expected = text_encode(PLAIN)[0][0]
    for prompt, trigger in (
        ("photo of a woman (img:1.2), red hair", "img"),
        ("photo of a woman IMG, red hair", " img "),
        ("photo of a woman sks, red hair", "sks"),
    ):
        [[alone, _]] = encode(adapters["v1"], prompt, trigger=trigger, start_merge_at=1, **who("v1"))
        assert torch.equal(alone, expected)
        [[face, _]] = encode(adapters["v1"], prompt, trigger=trigger, **who("v1"))
        assert torch.equal(face, encode(adapters["v1"], PROMPT, **who("v1"))[0][0])


@pytest.fixture
def asked(adapters):
    """IDTextEncode's inputs that have nothing wrong with them."""
    return {
        "clip": clip("sdxl"), "adapter": adapters["v1"], "prompt": PROMPT, "trigger": "img", "start_merge_at": 0.0,
        "on_no_face": "error", "image": photographs(1),
    }  # fmt: skip


def test_the_node(pack, adapters, asked):
    [made] = outputs(pack, "IDTextEncode", **asked)
    assert torch.equal(made[0][0], encode(adapters["v1"], PROMPT, **who("v1"))[0][0])


@pytest.mark.parametrize(
    ("prompt", "trigger", "words"),
    [
        (PLAIN, "img", "is not in the prompt; write it once, right behind the word for the person"),
        ("a woman img and a man img", "img", "is in the prompt 2 times"),
        ("img of a woman", "img", "is not behind a word"),
        ("a woman, img", "img", "is not behind a word"),
        ("a woman imgs", "img", "is not in the prompt"),
        (PROMPT, "  ", "The trigger is empty"),
    ],
)
def test_a_trigger_in_the_wrong_place(pack, asked, prompt, trigger, words):
    assert words in sentence(pack, "IDTextEncode", **{**asked, "prompt": prompt, "trigger": trigger})


def test_what_is_missing_or_does_not_fit(pack, adapters, asked):
    def said(**changed):
        given = {key: value for key, value in (asked | changed).items() if value is not Ellipsis}
        return sentence(pack, "IDTextEncode", **given)

    assert "the checkpoint has no text encoder" in said(clip=None)
    assert "photomaker-v1.bin looks at the picture of the face" in said(image=...)
    assert "connected clip has text width 48" in said(clip=clip("sd15"))
    assert "takes one person: connect either identity" in said(adapter=adapters["v2"])
    assert "There are 2 face vectors but 1 pictures" in said(adapter=adapters["v2"], identity=person(2))


def test_an_adapter_that_stays_out_of_the_prompt(pack, asked):
    from host_cases import adapter

    text = sentence(pack, "IDTextEncode", **{**asked, "adapter": adapter()})
    assert "puts no face into the prompt" in text


def test_a_picture_without_a_face(pack, encoder, asked):
    given = {**asked, "image": blank(64), "face_encoder": encoder}
    assert "No face was found" in sentence(pack, "IDTextEncode", **given)
    [[[context, _]]] = outputs(pack, "IDTextEncode", **{**given, "on_no_face": "passthrough"})
    assert torch.equal(context, text_encode(PLAIN)[0][0])


# What ApplyIDAdapter does with it


def apply(model, positive, adapter, **strength):
    strength = adapter_module.Strength(**{"weight": 1.0, **strength})
    nobody = Sources()
    return adapter_module.apply_adapter(model, positive, conditioning(seed=2), adapter, nobody, strength)


def test_the_lora_changes_every_layer_it_has(adapters, sdxl, version):
    positive = encode(adapters[version], PROMPT, **who(version))
    patched, after, _, identity = apply(sdxl, positive, adapters[version])
    assert after is positive and identity.is_empty
    assert len(patched.patches) == adapters[version].lora.layers == 560 and not sdxl.patches
    lora = photomaker(version)["lora_weights"]
    for path, attention, block, layer in (
        ("down_blocks.1.attentions.0.transformer_blocks.1", "attn2.processor.to_k", "input_blocks.4.1", "1.attn2.to_k"),
        ("mid_block.attentions.0.transformer_blocks.9", "attn1.processor.to_out", "middle_block.1", "9.attn1.to_out.0"),
    ):
        name, key = f"{path}.{attention}", f"diffusion_model.{block}.transformer_blocks.{layer}.weight"
        before = sdxl.model.get_parameter(key).clone()
        patched.patch_weight_to_device(key)  # what ComfyUI computes when it loads the model
        made = patched.model.get_parameter(key).clone()
        patched.unpatch_model()
        delta = lora[f"unet.{name}_lora.up.weight"] @ lora[f"unet.{name}_lora.down.weight"]
        torch.testing.assert_close(made, before + delta, atol=1e-4, rtol=0)
    assert apply(sdxl, positive, adapters[version], weight=0.0)[0] is sdxl


def test_the_lora_in_pefts_wrapper_is_the_same(sdxl):
    from host_cases import loaded_adapter

    nested, patches = photomaker("v1"), []
    for lora in (nested["lora_weights"], in_pefts_wrapper(nested["lora_weights"], "unet.base_model.model.")):
        made = loaded_adapter(nested | {"lora_weights": lora})
        patched, *_ = apply(sdxl, encode(made, PROMPT, **who("v1")), made)
        patches.append({key: [half for half in entry[1].weights[:2]] for key, [entry] in patched.patches.items()})
    one, other = patches
    assert one.keys() == other.keys() and len(one) == 560
    assert all(torch.equal(a, b) for key in one for a, b in zip(one[key], other[key], strict=True))


def test_applied_without_the_face_in_the_prompt(adapters, sdxl):
    with pytest.raises(ValueError, match="positive has none in it; encode the positive prompt with ID Text Encode"):
        apply(sdxl, text_encode(PLAIN), adapters["v1"])


def test_applied_to_another_model(adapters):
    from tiny.unet import unet

    positive = encode(adapters["v1"], PROMPT, **who("v1"))
    with pytest.raises(ValueError, match=r"text width 64\), but the connected model is .* text width 48"):
        apply(unet("sd15"), positive, adapters["v1"])


# What nodes do to a prompt with a face in it


def twins(entries):
    """The contexts of the rows without identity, as AttributeCure and mixed attention ask for them."""
    from comfy.sampler_helpers import convert_cond

    return [twins_module._without_identity(entry, [])["cross_attn"] for entry in convert_cond(entries)]


OPERATIONS = {
    "concat": lambda nodes, face, other: nodes.ConditioningConcat().concat(face, other),
    "concat behind": lambda nodes, face, other: nodes.ConditioningConcat().concat(other, face),
    "average": lambda nodes, face, other: nodes.ConditioningAverage().addWeighted(face, other, 0.3),
    "average into": lambda nodes, face, other: nodes.ConditioningAverage().addWeighted(other, face, 0.3),
    "zero": lambda nodes, face, other: nodes.ConditioningZeroOut().zero_out(face),
    "combine": lambda nodes, face, other: nodes.ConditioningCombine().combine(other, face),
    "range": lambda nodes, face, other: nodes.ConditioningSetTimestepRange().set_range(face, 0.2, 0.7),
    "another pack's": lambda nodes, face, other: [
        [[torch.lerp(one.clone()[:, :70].mul_(1.2), one.mean(1, keepdim=True), 0.5), options] for one, options in face]
    ],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_rows_without_the_face_follow_what_a_node_does_to_the_prompt(adapters, sdxl, name, caplog):
    import nodes

    face, other = encode(adapters["v1"], PROMPT, **who("v1", 2)), text_encode("at night")
    plain = [[options["likeness_plain_text"], {"pooled_output": options["pooled_output"]}] for _, options in face]
    [made], [expected] = (OPERATIONS[name](nodes, prompt, other) for prompt in (face, plain))
    for twin, (context, _) in zip(twins(made), expected, strict=True):
        assert torch.equal(twin, context) and type(twin) is torch.Tensor
    same = [torch.equal(context, without) for (context, _), (without, _) in zip(made, expected, strict=True)]
    assert name == "zero" or not all(same)
    assert apply(sdxl, made, adapters["v1"])[1] is made
    assert not caplog.messages


def test_a_node_that_cannot_be_followed_is_said(adapters, caplog):
    face = encode(adapters["v1"], PROMPT, **who("v1"))
    plain = face[0][1]["likeness_plain_text"]
    rounded = [[torch.from_numpy(context.numpy().round(1)), options] for context, options in face]
    assert torch.equal(twins(rounded)[0], plain)
    assert "changes the prompt in a way that can't be repeated without the face" in caplog.messages[-1]
    caplog.clear()
    torch.zeros(1, 77, 64)[:] = face[0][0]
    assert "changes the prompt in a way" in caplog.messages[-1]


def test_the_model_gets_an_ordinary_tensor(adapters, sdxl):
    seen = set()

    def note(q, context, value, extra_options):
        seen.update({type(context), type(value)})
        return q, context, value

    noted = sdxl.clone()
    noted.set_model_attn2_patch(note)
    sample(noted, encode(adapters["v1"], PROMPT, **who("v1")), conditioning(seed=2), steps=1)
    assert seen == {torch.Tensor}
