"""Files and names that the nodes can't use: one sentence, nothing half-done, nothing outside of ComfyUI's folders."""

import logging
import os

import host_cases
import pytest
import torch
from comfy_process import ComfyError
from likeness.core.host.comfyui.folders import why_not_found
from node_cases import Wired, blank, outputs, run_node, sentence
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
