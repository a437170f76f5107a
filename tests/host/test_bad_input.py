"""Bad input to the nodes: one sentence that says what was wrong and what to do, nothing half-done, and on it goes."""

import host_cases
import pytest
import torch
from comfy_process import ComfyError
from likeness.core.host.comfyui.masks import as_masks
from likeness.core.host.prompts import landmarks
from likeness.core.host.sampling.strength import Strength
from node_cases import blank, face, outputs, sentence


@pytest.mark.parametrize(("model", "adapter"), [("sdxl", "sd15"), ("sd15", "sdxl")])
def test_an_adapter_for_another_model(pack, applied, model, adapter):
    from tiny.unet import unet

    inputs = {**applied, "model": unet(model), "adapter": host_cases.adapter(adapter)}
    text = sentence(pack, "ApplyIDAdapter", **inputs, identity=host_cases.identity())
    sites = host_cases.SITES
    assert f"tiny_{adapter}.safetensors is an InstantID adapter for" in text
    assert f"({sites[adapter]} attention sites" in text and f"({sites[model]} sites" in text
    assert "choose an adapter and a model that belong together" in text


@pytest.mark.parametrize(
    ("model", "adapter", "words"),
    [
        (
            "flux",
            "sdxl",
            "(70 attention sites, text width 64), but the connected model is FLUX (57 blocks, text width 32)",
        ),
        ("sdxl", "xlabs", "is an XLabs IP-Adapter adapter for FLUX (19 of its 57 blocks), but the connected model is "),
        ("sd15", "withanyone", "is a WithAnyone adapter for FLUX, but the connected model is "),
    ],
)
def test_an_adapter_for_flux_and_one_for_a_unet(pack, applied, model, adapter, words):
    import flux_cases
    from tiny import flux
    from tiny.unet import unet

    model = flux.flux() if model == "flux" else unet(model)
    loaded = host_cases.adapter("sdxl") if adapter == "sdxl" else getattr(flux_cases, adapter)()
    inputs = {**applied, "model": model, "adapter": loaded}
    assert words in sentence(pack, "ApplyIDAdapter", **inputs, identity=host_cases.identity())


def test_a_model_of_an_unknown_kind(pack, applied):
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    config = comfy.supported_models.SD3(
        {"in_channels": 16, "patch_size": 2, "depth": 2, "pos_embed_max_size": 8, "adm_in_channels": 16}
    )
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    unknown = ModelPatcher(config.get_model({}), load_device=cpu, offload_device=cpu)
    text = sentence(pack, "ApplyIDAdapter", **{**applied, "model": unknown}, identity=host_cases.identity())
    assert "work with SD1.5, SDXL, FLUX.1 and Chroma models here, but the connected model is SD3; load one" in text


def test_prompts_are_needed_only_where_the_adapter_works_through_them(pack, applied):
    from tiny.ip_adapter import ip_adapter

    rest = {name: value for name, value in applied.items() if name not in ("positive", "negative")}
    text = sentence(pack, "ApplyIDAdapter", **rest, identity=host_cases.identity())
    assert "is an InstantID adapter, which works through the prompts as well; connect positive and negative" in text
    rest["adapter"] = host_cases.loaded_adapter(ip_adapter("faceid", "sd15"), "ip-adapter-faceid_sd15.bin")
    who = host_cases.identity(dim=512, space="buffalo_l-w600k_r50")
    model, positive, negative, _ = outputs(pack, "ApplyIDAdapter", **rest, identity=who)
    assert len(host_cases.attn2(model)) == host_cases.SITES["sd15"]
    for missing, name in ((positive, "positive"), (negative, "negative")):
        with pytest.raises(ValueError, match=f"^ApplyIDAdapter has no {name} to hand on; connect the prompt to its in"):
            host_cases.sample(model, missing, applied["negative"])
    alone = outputs(pack, "ApplyIDAdapter", **rest, identity=who, positive=applied["positive"])
    assert alone[1] is applied["positive"]
    for kind in ("ConditioningZeroOut", "FluxGuidance", "LandmarkControl", "ConditioningConcat", "ConditioningCombine"):
        with pytest.raises(ValueError, match="^ApplyIDAdapter has no negative to hand on"):
            looked_into(pack, kind, alone[2])


def looked_into(pack, kind, prompt):
    """What other nodes do with a prompt."""
    node = pack.nodes[kind]
    if kind == "ConditioningZeroOut":
        return node().zero_out(prompt)
    if kind == "ConditioningConcat":
        return node().concat(host_cases.conditioning("sd15"), prompt)
    if kind == "ConditioningCombine":
        return node().combine(host_cases.conditioning("sd15"), prompt)
    if kind == "FluxGuidance":
        return node.execute(prompt, 3.5)
    return landmarks.add_control_net(prompt, prompt, None, torch.zeros(1, 8, 8, 3), Strength(1.0))


def test_an_identity_of_another_encoder(pack, applied):
    from tiny.ip_adapter import ip_adapter

    by_space = host_cases.identity(space="antelopev2-glintr100")
    by_size = host_cases.identity(dim=512)
    for identity, numbers in ((by_space, 128), (by_size, 512)):
        text = sentence(pack, "ApplyIDAdapter", **applied, identity=identity)
        assert "takes faces from dlib-resnet34-128 (128 numbers)" in text
        assert f"made by {identity.space} ({numbers} numbers); choose that encoder in LoadFaceEncoder" in text
    loaded = host_cases.loaded_adapter(ip_adapter("faceid", "sd15"), "ip-adapter-faceid_sd15.bin")
    text = sentence(pack, "ApplyIDAdapter", **{**applied, "adapter": loaded}, identity=by_space)
    assert "choose insightface/buffalo_l in LoadFaceEncoder and encode the photograph again" in text


def test_comparing_across_encoders_is_refused(pack, encoder):
    inputs = {"face_encoder": encoder, "image": face(), "threshold": 0.0, "on_no_face": "error"}
    other = host_cases.identity(space="antelopev2-glintr100")
    assert "use the same encoder for both" in sentence(pack, "IDSimilarity", **inputs, identity=other)


@pytest.mark.parametrize(
    "wires", [[], ["image"], ["face_encoder"], ["identity", "image"], ["identity", "face_encoder", "image"]]
)
def test_apply_id_adapter_wants_one_person(pack, encoder, applied, wires):
    there = {"identity": host_cases.identity(), "image": face(), "face_encoder": encoder}
    text = sentence(pack, "ApplyIDAdapter", **applied, **{name: there[name] for name in wires})
    assert text == "This node takes one person: connect either identity, or face_encoder and image together."


@pytest.mark.parametrize("wires", [[], ["identity", "reference"]])
def test_id_similarity_wants_one_person(pack, encoder, wires):
    there = {"identity": host_cases.identity(), "reference": face()}
    inputs = {"face_encoder": encoder, "image": face(), "threshold": 0.0, "on_no_face": "error"}
    text = sentence(pack, "IDSimilarity", **inputs, **{name: there[name] for name in wires})
    assert text == "IDSimilarity compares with one person: connect either identity or reference."


# Pictures and texts that are none


@pytest.mark.parametrize(
    "shape",
    [(64, 64, 3), (1, 1, 64, 64, 3), (1, 64, 64, 2), (1, 3, 64, 64), (0, 64, 64, 3), (1, 0, 64, 3), (1, 64, 64, 0)],
)
def test_tensors_that_are_no_picture(pack, encoder, applied, shape):
    image = torch.zeros(shape)
    detecting = {"face_encoder": encoder, "order": "largest", "index": "all", "on_no_face": "passthrough"}
    encoding = {"face_encoder": encoder, "combine": "mean", "face_index": "0", "on_no_face": "passthrough"}
    comparing = {"face_encoder": encoder, "identity": host_cases.identity(), "threshold": 0.0, "on_no_face": "skip"}
    for name, inputs in {
        "DetectFaces": detecting,
        "EncodeIdentity": encoding,
        "IDSimilarity": comparing,
        "ApplyIDAdapter": {**applied, "face_encoder": encoder},
    }.items():
        text = sentence(pack, name, **inputs, image=image)
        assert text.startswith(f"An IMAGE has the shape [batch, height, width, 3], but this one is {list(shape)}; conn")


WRONG_NUMBERS = {
    "bytes": (
        lambda image: (image * 255).to(torch.uint8),
        "An IMAGE has colours as fractions from 0 to 1, but this one",
    ),
    "NaN": (lambda image: image * torch.nan, "The image holds values that are not numbers"),
    "bytes as floats": (lambda image: image * 255, "The image has numbers from "),
    "16 bits": (lambda image: image * 65535, "but an IMAGE's go from 0 (black) to 1 (white); connect it as Load Image"),
    "white": (lambda image: (image * 256).clamp(0, 1), "The image is white nearly everywhere, as a grey picture of 16"),
}


@pytest.mark.parametrize("kind", WRONG_NUMBERS)
def test_pictures_with_wrong_numbers_are_not_just_without_a_face(pack, encoder, kind, caplog):
    change, words = WRONG_NUMBERS[kind]
    image, inputs = change(face(size=64)), {"face_encoder": encoder, "combine": "mean", "face_index": "0"}
    for policy in ("error", "skip"):
        assert words in sentence(pack, "EncodeIdentity", **inputs, image=image, on_no_face=policy)
    batch = change(torch.cat([face(size=64)] * 2))
    if kind != "bytes":
        batch[0] = face(size=64)
        caplog.clear()
        identity, _ = outputs(pack, "EncodeIdentity", **inputs, image=batch, on_no_face="skip")
        assert identity.count == 1
        assert any(words.replace("The image", "Image 2 of 2") in said for said in caplog.messages)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.full((1, 8, 8), torch.nan), "holds values that are not numbers"),
        (torch.full((1, 8, 8), 255, dtype=torch.uint8), "holds whole numbers .uint8."),
        (torch.full((1, 8, 8), 255.0), "has values from 255 to 255"),
        (torch.zeros(0, 8, 8), "must be a MASK"),
    ],
    ids=["nan", "uint8", "0..255", "empty"],
)
def test_masks_that_are_none(mask, words):
    with pytest.raises(ValueError, match=f"The attn_mask {words}.*; connect one as Load Image"):
        as_masks(mask, "attn_mask")
    assert torch.equal(as_masks(torch.tensor([[-0.1, 0.5, 1.2]]), "mask"), torch.tensor([[[0.0, 0.5, 1.0]]]))


def test_an_adapter_that_looks_at_the_whole_picture_wants_colours():
    from prompt_cases import encode, photomaker_adapter

    image = torch.full((1, 8, 8, 3), torch.nan)
    with pytest.raises(ValueError, match="The image holds values that are not numbers"):
        encode(photomaker_adapter("v1"), "a woman img", image=image)


def test_a_mask_that_is_none(pack, applied):
    inputs = {**applied, "identity": host_cases.identity(), "attn_mask": torch.ones(1, 1, 8, 8)}
    text = sentence(pack, "ApplyIDAdapter", **inputs)
    assert "must be a MASK [batch, height, width], but this one has the shape [1, 1, 8, 8]; connect" in text


@pytest.mark.parametrize("index", ["a", "-1", "0,,2", "", ",", "1.5", "0;1", "²", "٣", "all,0", "0x1", "ALL!"])
def test_a_face_index_that_is_none(pack, encoder, index):
    inputs = {"face_encoder": encoder, "image": face(), "on_no_face": "passthrough"}
    for name, rest in {
        "DetectFaces": {"order": "largest", "index": index},
        "EncodeIdentity": {"combine": "mean", "face_index": index},
    }.items():
        text = sentence(pack, name, **inputs, **rest)
        assert text.startswith(f"Face index {index!r} is not understood") and 'such as "0,2"' in text


def test_a_face_index_beyond_the_faces(pack, encoder):
    """There is a face, so "no face was found" would be wrong."""
    inputs = {"face_encoder": encoder, "combine": "mean"}
    text = sentence(pack, "EncodeIdentity", **inputs, image=face(), face_index="99", on_no_face="error")
    assert text.startswith("The face index asks for a face that the image does not have: it has one, number 0")
    pair = torch.cat([torch.cat([face("A"), face("C")], dim=2), torch.cat([blank(), blank()], dim=2)])
    text = sentence(pack, "EncodeIdentity", **inputs, image=pair, face_index="7", on_no_face="skip")
    assert "image 1 of 2 does not have: it has 2, numbers 0 to 1" in text and "set on_no_face to passthrough" in text
    identity, _ = outputs(pack, "EncodeIdentity", **inputs, image=pair, face_index="7", on_no_face="passthrough")
    assert identity.is_empty


@pytest.mark.parametrize(
    "text",
    ["left eye: 3, 4", "{", "[]x", "5", '"faces"', "null", "{}", '{"faces": 3}', "[[1, 2]]", "[[[1, 2], [3, 4]]]"]
    + ['{"faces": [[[0,0],[1,1],[2,2],[3,3],[NaN,4]]]}', "[[0,0],[1,1],[2,2],[3,3],[1e999,4]]", "[" * 5000, "1" * 5000]
    + ['{"size": [0, 5], "faces": []}', '{"size": "big", "faces": []}', '{"faces": [], "extra": 1}', "NaN"],
)
def test_landmarks_that_are_none(pack, encoder, tiny_files, text):
    import comfy.controlnet

    path = pack.base / "models/controlnet/tiny_sdxl_controlnet.safetensors"
    inputs = {"control_net": comfy.controlnet.load_controlnet(str(path)), "face_encoder": encoder, "image": face()}
    prompt = {"positive": host_cases.conditioning(seed=1), "negative": host_cases.conditioning(seed=2)}
    numbers = dict.fromkeys(("offset_x", "offset_y", "rotate", "start_at"), 0.0) | {"scale": 1.0, "end_at": 1.0}
    words = {"landmarks": text, "face_index": "0", "on_no_face": "error", "strength": 0.8}
    said = sentence(pack, "LandmarkControl", **inputs, **prompt, **numbers, **words)
    assert said.startswith("Landmarks") and "expected" in said and len(said) < 300


@pytest.mark.parametrize(("name", "value"), [("weight", 9.0), ("start_at", -0.1), ("end_at", 1.5)])
def test_numbers_out_of_range_are_still_refused_by_comfyui(pack, applied, name, value):
    with pytest.raises(ComfyError, match=f"Value {value} (bigger|smaller) than"):
        outputs(pack, "ApplyIDAdapter", **{**applied, name: value}, identity=host_cases.identity())
