"""Bad input to the nodes: one sentence that says what was wrong and what to do, nothing half-done, and on it goes."""

import logging
import os

import host_cases
import pytest
import torch
from comfy_process import ComfyError
from comfy_versions import flux_settings
from likeness.core.host.comfyui.folders import why_not_found
from likeness.core.host.comfyui.masks import as_masks
from node_cases import Wired, blank, face, outputs, run_node, sentence
from safetensors.torch import save_file
from tiny.files import instantid


def flat(kind="sd15"):
    return {f"{top}.{key}": tensor for top, part in instantid(kind).items() for key, tensor in part.items()}


@pytest.fixture(scope="module")
def folder(pack):
    folder = pack.base / "models/instantid"
    folder.mkdir(exist_ok=True)
    return folder


def tree(*roots):
    """Every file below some folders with its content's size and time."""
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


# Adapter files


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


BAD_FILES = {
    "empty": "is empty (0 bytes)",
    "cut": "is damaged or cut off",
    "page": "is a web page",
    "pointer": "is a Git LFS pointer",
    "hostile": "holds program code besides weights, so it was not opened; use a .safetensors version",
    "checkpoint": "is a full checkpoint or diffusion model, and LoadIDAdapter reads InstantID",
    "lora": "is a LoRA, and LoadIDAdapter reads InstantID",
    "siteless": "is incomplete: it lacks 'ip_adapter.5.to_k_ip.weight'; fetch it again",
    "crowded": "has tensors too many, 1 of them (the first: 'image_proj.extra.weight')",
    "shapes": "its tensors don't fit together",
}


def write_bad(path, kind):
    tensors = flat()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        save_file(tensors, path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "page":
        path.write_text("<!DOCTYPE html><html><body>404</body></html>")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 5\n")
    elif kind == "hostile":
        torch.save({"image_proj": {"latents": Hostile(f"touch '{path}.ran'")}}, path)
    elif kind == "checkpoint":
        save_file({"model.diffusion_model.out.2.weight": torch.ones(2)}, path)
    elif kind == "lora":
        save_file({"lora_unet_mid.lora_down.weight": torch.ones(2)}, path)
    elif kind == "siteless":
        save_file({key: tensor for key, tensor in tensors.items() if not key.startswith("ip_adapter.5.")}, path)
    elif kind == "crowded":
        save_file({**tensors, "image_proj.extra.weight": torch.ones(2)}, path)
    elif kind == "shapes":
        save_file({**tensors, "image_proj.norm_out.weight": torch.ones(7)}, path)


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_adapter_file_is_named_and_leaves_nothing(pack, folder, kind):
    import comfy.model_management as mm

    path = folder / f"bad_{kind}.bin"
    write_bad(path, kind)
    held = list(mm.current_loaded_models)
    try:
        text = sentence(pack, "LoadIDAdapter", adapter=f"instantid/{path.name}")
        assert text.startswith(f"{path.name} ") and BAD_FILES[kind] in text
        # what others have left may be cleaned up in the meantime, nothing may be added
        assert all(model in held for model in mm.current_loaded_models)
        assert not path.with_name(path.name + ".ran").exists()
        save_file(flat(), path)  # the artist fetches it again under the same name
        adapter, about = outputs(pack, "LoadIDAdapter", adapter=f"instantid/{path.name}")
        assert adapter.spec.family == "instantid" and path.name in about
    finally:
        path.unlink()


@pytest.mark.parametrize(("name", "pickled"), [("re_named.bin", False), ("re_named.safetensors", True)])
def test_a_misnamed_adapter_simply_loads(pack, folder, name, pickled):
    torch.save(instantid("sd15"), folder / name) if pickled else save_file(flat(), folder / name)
    try:
        adapter, _ = outputs(pack, "LoadIDAdapter", adapter=f"instantid/{name}")
    finally:
        (folder / name).unlink()
    weights, tensors = adapter.patcher.model.state_dict(), flat()
    assert weights.keys() == tensors.keys() and all(torch.equal(weights[key], tensors[key]) for key in tensors)


def test_an_adapter_that_is_gone(pack, folder):
    """Listed when the prompt was checked, gone when it ran."""
    node = pack.nodes["LoadIDAdapter"]
    path = folder / "soon_gone.safetensors"
    save_file(flat(), path)
    assert node.validate_inputs("instantid/soon_gone.safetensors") is True
    path.unlink()
    os.utime(folder)
    with pytest.raises(ValueError, match=r"'instantid/soon_gone.safetensors' was not found; put its file into .*inst"):
        node.execute("instantid/soon_gone.safetensors")
    path.symlink_to(folder / "nowhere.safetensors")
    os.utime(folder)
    try:
        text = sentence(pack, "LoadIDAdapter", adapter="instantid/soon_gone.safetensors")
        assert "is listed but not there" in text and "put its file back" in text
    finally:
        path.unlink()


NAMES = [
    "instantid/none.safetensors",
    "../../secret.safetensors",
    "instantid/../../../secret.safetensors",
    "instantid/..\\..\\..\\secret.safetensors",
    "{root}/secret.safetensors",
    "instantid/{root}/secret.safetensors",
    "instantid/\0secret.safetensors",
    "C:\\secret.safetensors",
    "instantid",
    "/",
    "",
]


@pytest.fixture
def secret(tmp_path, pack):
    """A good file outside all folders, and one in ComfyUI's base directory: neither may be opened."""
    for path in (tmp_path / "secret.safetensors", pack.base / "secret.safetensors"):
        save_file(flat(), path)
    yield tmp_path
    (pack.base / "secret.safetensors").unlink()


@pytest.mark.parametrize("name", NAMES)
def test_adapter_names_that_lead_nowhere(pack, secret, name):
    name = name.format(root=secret) if "{" in name else name
    with pytest.raises(ComfyError) as caught:
        outputs(pack, "LoadIDAdapter", adapter=name)
    text = str(caught.value)
    assert "was not found; put its file into" in text and "Found in the adapter folders:" in text
    with pytest.raises(ValueError, match="was not found; put its file into"):
        pack.nodes["LoadIDAdapter"].execute(name)
    for value in (5, None, ["instantid", 0, 0], {"a": 1}):
        assert "was not found" in why_not_found(value)


@pytest.mark.parametrize("name", [name + place for name in NAMES for place in (" [input]", " [output]", "")])
def test_identity_names_that_lead_nowhere(pack, secret, name):
    name = name.replace("instantid/", "").format(root=secret) if "{" in name else name
    with pytest.raises(ComfyError) as caught:
        outputs(pack, "LoadIdentity", identity_file=name)
    assert "was not found in ComfyUI's input or output folder; save one with SaveIdentity" in str(caught.value)
    with pytest.raises(ValueError, match="was not found in ComfyUI's input or output folder"):
        pack.nodes["LoadIdentity"].execute(name)


@pytest.mark.parametrize(
    "prefix",
    ["../escaped", "a/../../escaped", "{root}/escaped", "/escaped", "../output_other/x", "\0", "a\0/b", "x" * 300],
)
def test_identities_are_saved_inside_the_output_folder_only(pack, tmp_path, prefix, caplog):
    before = tree(pack.base, tmp_path)
    with caplog.at_level(logging.CRITICAL):
        text = sentence(
            pack, "SaveIdentity", identity=host_cases.identity(), filename_prefix=prefix.format(root=tmp_path)
        )
    assert "can't be saved as" in text and "must be a name inside ComfyUI's output folder, such as" in text
    assert tree(pack.base, tmp_path) == before


@pytest.mark.parametrize(
    "prefix", ["..\\..\\escaped", "C:\\escaped", "\\\\host\\share\\x", "a/b/c", "ä ö/名前", "%date%", "..", "."]
)
def test_odd_prefixes_stay_inside(pack, prefix):
    output = pack.base / "output"
    before = tree(pack.base)
    result = run_node(pack, "SaveIdentity", identity=host_cases.identity(), filename_prefix=prefix)
    [saved] = result.outputs["node"]["identities"]
    assert (new := tree(pack.base).keys() - before.keys()) == {output / saved["subfolder"] / saved["filename"]}
    assert outputs(pack, "LoadIdentity", identity_file=f"{new.pop().relative_to(output)} [output]")[0].count == 2


def test_an_identity_of_nobody_is_not_saved(pack, encoder):
    inputs = {"face_encoder": encoder, "image": blank(), "combine": "mean", "face_index": "0"}
    nobody, _ = outputs(pack, "EncodeIdentity", **inputs, on_no_face="passthrough")
    before = tree(pack.base)
    text = sentence(pack, "SaveIdentity", identity=nobody, filename_prefix="nobody")
    assert text.startswith("There is nothing to save") and tree(pack.base) == before


def test_a_bad_identity_file(pack):
    path = pack.base / "input/adapter.safetensors"
    save_file({"x.lora_down.weight": torch.ones(1)}, path)
    try:
        text = sentence(pack, "LoadIdentity", identity_file="adapter.safetensors [input]")
        assert text.startswith("adapter.safetensors is a LoRA, not an identity saved by SaveIdentity; choose one")
    finally:
        path.unlink()


# Parts that don't belong together


@pytest.mark.parametrize(("model", "adapter"), [("sdxl", "sd15"), ("sd15", "sdxl")])
def test_an_adapter_for_another_model(pack, applied, model, adapter):
    from tiny.unet import unet

    inputs = {**applied, "model": unet(model), "adapter": host_cases.adapter(adapter)}
    text = sentence(pack, "ApplyIDAdapter", **inputs, identity=host_cases.identity())
    sites = host_cases.SITES
    assert f"tiny_{adapter}.safetensors is an InstantID adapter for" in text
    assert f"({sites[adapter]} attention sites" in text and f"({sites[model]} sites" in text
    assert "choose an adapter and a model that belong together" in text


def test_a_model_that_is_no_unet(pack, applied):
    import comfy.supported_models
    from comfy.model_patcher import ModelPatcher

    config = comfy.supported_models.Flux(
        {
            "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2, "vec_in_dim": 8,
            "context_in_dim": 16, "hidden_size": 32, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1,
            "depth_single_blocks": 1, "axes_dim": [4, 6, 6], "theta": 10000, "qkv_bias": True, "guidance_embed": False,
            **flux_settings(),
        }
    )  # fmt: skip
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    flux = ModelPatcher(config.get_model({}), load_device=cpu, offload_device=cpu)
    text = sentence(pack, "ApplyIDAdapter", **{**applied, "model": flux}, identity=host_cases.identity())
    assert "work with SD1.5 and SDXL models here, but the connected model is Flux; load one of those" in text


def test_an_identity_of_another_encoder(pack, applied):
    by_space = host_cases.identity(space="antelopev2-glintr100")
    by_size = host_cases.identity(dim=512)
    for identity, numbers in ((by_space, 128), (by_size, 512)):
        text = sentence(pack, "ApplyIDAdapter", **applied, identity=identity)
        assert "takes faces from dlib-resnet34-128 (128 numbers)" in text
        assert f"made by {identity.space} ({numbers} numbers); choose that encoder in LoadFaceEncoder" in text


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


def test_names_over_a_wire_are_known_when_they_arrive(pack, folder):
    save_file(flat(), folder / "wired.safetensors")
    try:
        [adapter, _] = outputs(pack, "LoadIDAdapter", adapter=Wired("instantid/wired.safetensors"))
        assert adapter.file_name == "instantid/wired.safetensors"
        text = sentence(pack, "LoadIDAdapter", adapter=Wired("../wired.safetensors"))
        assert "The adapter '../wired.safetensors' was not found" in text
    finally:
        (folder / "wired.safetensors").unlink()
    text = sentence(pack, "LoadIdentity", identity_file=Wired("../a.safetensors [input]"))
    assert "was not found in ComfyUI's input or output folder" in text


@pytest.mark.parametrize(("name", "value"), [("weight", 9.0), ("start_at", -0.1), ("end_at", 1.5)])
def test_numbers_out_of_range_are_still_refused_by_comfyui(pack, applied, name, value):
    with pytest.raises(ComfyError, match=f"Value {value} (bigger|smaller) than"):
        outputs(pack, "ApplyIDAdapter", **{**applied, name: value}, identity=host_cases.identity())
