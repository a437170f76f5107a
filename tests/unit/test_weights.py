"""Reading weight files: what is good loads under any name, what is bad gets one sentence and runs nothing."""

import gc
import io
import os
import pickle
import sys
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from likeness.core.weights import WeightsError, kind_of, read_weights
from safetensors.torch import load_file, save

NESTED = {
    "image_proj": {"latents": torch.arange(6.0).view(1, 2, 3), "proj_in.weight": torch.ones(3, 4)},
    "ip_adapter": {"1.to_k_ip.weight": torch.full((2, 3), 0.5), "1.to_v_ip.weight": torch.eye(3)},
}
FLAT = {f"{top}.{key}": tensor for top, part in NESTED.items() for key, tensor in part.items()}


def pickled(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


GOOD = {
    "safetensors": save(FLAT, {"likeness.face_space": "somewhere"}),
    "zip": pickled(NESTED),
    "legacy": pickled(NESTED, _use_new_zipfile_serialization=False),
}


@pytest.fixture
def write(tmp_path):
    def write(data, name="weights.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def complaint(path):
    """The one sentence about a bad file, which must begin with its name and say what to do after a semicolon."""
    with pytest.raises(WeightsError) as caught:
        read_weights(path)
    text = str(caught.value)
    assert text.startswith(f"{path.name} "), text
    advices = ("fetch", "choose", "use a .safetensors", "git lfs pull", "check that")
    assert any(advice in text for advice in advices), text
    assert text.endswith(".") and "\n" not in text and len(text) < 250, text
    return text


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "a.pt", "a", "a.jpg"])
@pytest.mark.parametrize("kind", GOOD)
def test_a_good_file_loads_under_any_name(write, kind, name):
    file = read_weights(write(GOOD[kind], name))
    assert file.name == name and file.tensors.keys() == FLAT.keys()
    assert all(torch.equal(file.tensors[key], FLAT[key]) for key in FLAT)
    assert file.metadata == ({"likeness.face_space": "somewhere"} if kind == "safetensors" else {})


def test_a_safetensors_header_of_any_length_is_no_pickle(write):
    """Lengths whose first byte is that of a pickle (0x80) or of a web page (0x3c, <) are lengths all the same."""
    first_bytes = set()
    for length in range(1, 400):
        data = save({"k" * length: torch.ones(2)})
        first_bytes.add(data[0])
        assert read_weights(write(data)).tensors.keys() == {"k" * length}
    assert 0x80 in first_bytes


TYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.uint16),
)


@pytest.mark.parametrize("padding", [0, 1])
def test_safetensors_of_every_type_and_shape(write, padding):
    """As the library itself reads them, also where no tensor begins on a multiple of its numbers' size."""
    numbers = torch.arange(-3, 3).view(2, 3)
    tensors = {str(kind): numbers.to(kind) for kind in TYPES}
    tensors |= {"one number": torch.tensor(7.0), "none": torch.zeros(0, 4), "none of none": torch.zeros(0)}
    data = save(tensors, {"origin": "here"})
    length = int.from_bytes(data[:8], "little")
    path = write((length + padding).to_bytes(8, "little") + data[8 : 8 + length] + b" " * padding + data[8 + length :])
    read = read_weights(path).tensors
    expected = load_file(path)
    assert read.keys() == expected.keys() and len(read) == len(TYPES) + 3
    for key, tensor in read.items():
        assert tensor.dtype == expected[key].dtype and tensor.shape == expected[key].shape, key
        assert torch.equal(tensor.flatten().view(torch.uint8), expected[key].clone().flatten().view(torch.uint8)), key


def test_reading_leaves_nothing_behind(write):
    """The library's own way leaves two of Python's integers for each tensor, each time."""
    path, grown = write(save({f"{number}": torch.zeros(300) for number in range(100)})), []
    for _ in range(5):
        read_weights(path)
        gc.collect()
        grown.append(sys.getallocatedblocks())
    assert grown[-1] - grown[1] < 100, grown


def test_wrappers_and_bystanders_come_off(write):
    content = {"state_dict": NESTED, "epoch": 3, "name": "run 1"}
    assert read_weights(write(pickled(content))).tensors.keys() == FLAT.keys()
    content = {**NESTED, "epoch": 3, "log": ["a"], 7: torch.ones(1)}
    assert read_weights(write(pickled(content))).tensors.keys() == {*FLAT, "7"}


@pytest.mark.parametrize("kind", GOOD)
def test_truncated_anywhere(write, kind):
    data = GOOD[kind]
    for length in {*range(1, 40), *range(40, len(data), 17), *range(len(data) - 20, len(data))}:
        text = complaint(write(data[:length]))
        assert "fetch" in text or ".safetensors version" in text, (length, text)


def test_empty_missing_and_folder(write, tmp_path):
    assert "is empty (0 bytes)" in complaint(write(b""))
    assert "No such file" in complaint(tmp_path / "gone.bin")
    (tmp_path / "folder.bin").mkdir()
    assert "Is a directory" in complaint(tmp_path / "folder.bin")


@pytest.mark.parametrize(
    "page",
    [b"<!DOCTYPE html><html>", b"\n <HTML lang=en>", b"\xef\xbb\xbf<!-- x --><html>", b"<?xml version='1.0'?><Error>"],
    ids=["doctype", "html", "comment", "xml"],
)
def test_a_web_page(write, page):
    assert "is a web page" in complaint(write(page + b" " * 600))


def test_a_git_lfs_pointer(write):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a2146" * 8 + b"\nsize 1691134141\n"
    assert "git lfs pull" in complaint(write(pointer))


@pytest.mark.parametrize(
    "data",
    [b"GGUF\3\0\0\0" + bytes(90), b'{"error": "none"}', b"7z\xbc\xaf\x27" + bytes(90), b"hi", bytes(99), b"\xff" * 99],
    ids=["gguf", "json", "7z", "text", "zeros", "ones"],
)
def test_other_files(write, data):
    assert "neither a safetensors file nor a PyTorch checkpoint" in complaint(write(data))


def test_a_zip_that_is_no_checkpoint(write):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/readme.txt", "no weights here")
    assert "is damaged or cut off" in complaint(write(buffer.getvalue()))


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["zip", "legacy", "protocol 0", "protocol 2", "protocol 4"])
def test_a_hostile_pickle_runs_nothing(write, tmp_path, form):
    witness = tmp_path / "ran"
    content = {"image_proj": {"latents": torch.ones(1)}, "x": Hostile(f"touch '{witness}'")}
    if form.startswith("protocol"):
        data = pickle.dumps({"x": content["x"]}, protocol=int(form[-1]))
    else:
        data = pickled(content, _use_new_zipfile_serialization=form == "zip")
    text = complaint(write(data))
    assert not witness.exists()
    if form in ("zip", "legacy", "protocol 2"):
        assert "holds program code besides weights, so it was not opened" in text
    # the file would have acted in the hands of a careless reader
    if form.startswith("protocol"):
        pickle.loads(data)
        assert witness.exists()


def test_whole_modules_and_torchscript_are_program_code(write):
    assert "program code" in complaint(write(pickled(torch.nn.Linear(2, 2))))
    script = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    assert "program code" in complaint(write(buffer.getvalue()))


def test_pickles_that_are_no_dictionary_of_tensors(write):
    assert "holds a list" in complaint(write(pickled([torch.ones(1)])))
    assert "holds a Tensor" in complaint(write(pickled(torch.ones(1))))
    assert "holds no tensors" in complaint(write(pickled({"epoch": 1, "more": {}})))
    assert "holds no tensors" in complaint(write(save({})))


def test_dictionaries_that_hold_themselves_end(write):
    circle = {"a": torch.ones(1)}
    circle["b"] = circle["c"] = circle
    assert "go round in circles" in complaint(write(pickled(circle)))
    doubled = {"t": torch.ones(1)}
    for _ in range(60):  # 2**60 tensors once it is flat
        doubled = {"a": doubled, "b": doubled}
    assert "go round in circles" in complaint(write(pickled(doubled)))
    deep = {"t": torch.ones(1)}
    for _ in range(30):
        deep = {"a" * 50: deep}
    assert "go round in circles" in complaint(write(pickled(deep)))


def test_shapes_beyond_the_stored_numbers(write):
    """An expanded tensor claims a terabyte over four bytes; a meta tensor has no bytes; a sparse one has holes."""
    for tensor in (torch.ones(1).expand(500_000, 500_000), torch.empty(4, 4, device="meta"), torch.eye(3).to_sparse()):
        assert "'x' lacks numbers of its own" in complaint(write(pickled({"x": tensor})))


# Adapters of every kind are named in test_layouts.py and test_adapters.py, from whole files.
KINDS = {
    "a ControlNet": ["control_model.input_hint_block.0.weight", "control_model.time_embed.0.weight"],
    "a LoRA": ["lora_unet_mid_block_attn.lora_down.weight", "lora_unet_mid_block_attn.alpha"],
    "a full checkpoint or diffusion model": ["model.diffusion_model.out.0.weight", "first_stage_model.quant.weight"],
    "a diffusers U-Net": ["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"],
    "a text encoder": ["text_model.embeddings.token_embedding.weight"],
    "a CLIP vision model": ["vision_model.embeddings.class_embedding"],
    "a VAE": ["encoder.conv_in.weight", "decoder.conv_in.weight"],
    "a BiSeNet face parser": ["cp.resnet.conv1.weight", "conv_out.conv_out.weight"],
    "a ParseNet face parser": ["encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight"],
    "a FaceNet state dict": ["conv2d_1a.conv.weight", "conv2d_1a.bn.weight", "logits.bias"],
    "an AdaFace state dict": ["model.body.0.res_layer.4.running_var", "model.body.0.res_layer.5.running_var"],
    "an ArcFace IResNet state dict": ["conv1.weight", "layer1.0.prelu.weight", "features.weight"],
    "an IR face model of another layout than AdaFace's": ["body.0.res_layer.4.running_var"],
    "a CVLface model, whose colour order only a file beside it tells": ["net.input_layer.0.weight"],
    "a SegFormer": ["segformer.encoder.patch_embeddings.0.proj.weight", "decode_head.classifier.weight"],
}


@pytest.mark.parametrize("words", KINDS)
def test_a_file_is_named_by_its_keys(words):
    tensors = dict.fromkeys(KINDS[words], torch.ones(1))
    assert kind_of(tensors) == words


def test_other_spellings_of_the_same_kinds():
    for words, keys in {
        "a ControlNet": ["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"],
        "a LoRA": ["unet.down_blocks.0.attn.to_q.lora_A.weight"],
        "a PuLID adapter for SDXL": ["image_proj.body.0.weight", "ip_adapter.1.to_k_ip.weight"],
        "a UniPortrait adapter": ["faceid_adapter.0.to_q_lora.down.weight"],
        "a BiSeNet face parser": ["fpn.backbone.conv1.weight", "conv_out.conv.weight"],
        "an ArcFace IResNet state dict": ["backbone.conv1.weight", "backbone.layer1.0.prelu.weight", "head.weight"],
    }.items():
        assert kind_of(dict.fromkeys(keys, torch.ones(1))) == words


def test_an_unknown_file_shows_some_of_its_keys():
    assert "2 tensors: 'a.weight', 'b.bias'" in kind_of({"b.bias": torch.ones(1), "a.weight": torch.ones(1)})


def read_or_refuse(path, data):
    path.write_bytes(data)
    try:
        file = read_weights(path)
    except WeightsError as error:
        assert str(error).startswith(path.name)
    else:
        assert file.tensors and all(isinstance(tensor, torch.Tensor) for tensor in file.tensors.values())


CASES = int(os.environ.get("LIKENESS_FUZZ_CASES", "300"))  # of each of the two tests below
fuzz = settings(
    max_examples=CASES, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
heads = st.sampled_from(
    [b"", b"PK\3\4", b"\x80\2", GOOD["legacy"][:40], GOOD["zip"][:60], GOOD["safetensors"][:8], b"@" + bytes(7) + b"{"]
)


@fuzz
@given(head=heads, tail=st.binary(max_size=400))
def test_random_bytes_are_refused(tmp_path, head, tail):
    read_or_refuse(tmp_path / "fuzz.bin", head + tail)


@fuzz
@given(data=st.data(), kind=st.sampled_from(sorted(GOOD)))
def test_damaged_bytes_load_or_are_refused(tmp_path, data, kind):
    """Bits flipped, bytes overwritten, parts cut out: never anything but a WeightFile or a WeightsError."""
    good = bytearray(GOOD[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        match data.draw(st.sampled_from(["flip", "overwrite", "cut out", "cut off"])):
            case "flip":
                good[place] ^= 1 << data.draw(st.integers(0, 7))
            case "overwrite":
                good[place : place + 8] = data.draw(st.binary(min_size=1, max_size=8))
            case "cut out":
                del good[place : place + data.draw(st.integers(1, 30))]
            case "cut off":
                del good[place:]
        if not good:
            break
    read_or_refuse(tmp_path / "fuzz.bin", bytes(good))
