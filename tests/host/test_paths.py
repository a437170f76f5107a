"""Names of files in a graph, of every input that takes one: nothing outside of the registered folders is opened."""

import os
import sys

import host_cases
import numpy as np
import pytest
import torch
from comfy_process import ComfyError
from node_cases import outputs, run_node
from safetensors.torch import save_file
from tiny.files import instantid
from tiny.ip_adapter import flat

HERE = "instantid/here.safetensors"
# input -> (node, ending, its other inputs, what the node says)
FILES = {
    "adapter": ("LoadIDAdapter", ".safetensors", {}, "was not found; put its file into"),
    "lora": (
        "LoadIDAdapter",
        ".safetensors",
        {"adapter": "instantid/here.safetensors"},
        "was not found in ComfyUI's lo",
    ),
    "router": (
        "LoadIDAdapter",
        ".safetensors",
        {"adapter": "instantid/here.safetensors"},
        "was not found; put its file",
    ),
    "encoder": ("LoadFaceEncoder", ".onnx", {"detector": "auto", "min_confidence": 0.5}, "encoder is "),
    "detector": ("LoadFaceEncoder", ".onnx", {"encoder": "embedded", "min_confidence": 0.5}, "detector is "),
    "identity_file": ("LoadIdentity", ".safetensors", {}, "was not found in ComfyUI's input or output folder"),
    "direction": ("EditIdentity", ".npy", {"strength": 1.0, "layers": "0-7"}, "was not found; put its file"),
}
ASKED = ("adapter", "encoder", "detector")  # of the other inputs, what is asked for before a node runs
NAMES = (
    "{outside}/secret{end}", "../secret{end}", "../../secret{end}", "../../../outside/secret{end}",
    "..\\..\\..\\outside\\secret{end}", "instantid/../../../outside/secret{end}", "instantid/{outside}/secret{end}",
    "here/../../../outside/secret{end}", "link/../../outside/secret{end}", "\0{outside}/secret{end}",
    "{outside}/secret{end}\0.safetensors", "file://{outside}/secret{end}", "{outside}/secret{end} [input]",
    "../../outside/secret{end} [output]", "insightface/../../../outside", "insightface/{outside}", "secret{end} [temp]",
    "face_encoders/../../../outside/secret{end}", "likeness_directions/../../../outside/secret{end}", "~/secret{end}",
    "C:{outside}\\secret{end}", "\\\\host\\share\\secret{end}", "..", "/", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def opened():
    """Paths that Python code opens or lists, as a list that grows."""
    seen, listening = [], [True]

    def hook(event, arguments):
        if (
            listening[0]
            and event in ("open", "os.listdir", "os.scandir")
            and isinstance(arguments[0], str | os.PathLike)
        ):
            seen.append(os.path.realpath(os.fspath(arguments[0]).replace("\0", "?")))

    sys.addaudithook(hook)
    yield seen
    listening[0] = False


@pytest.fixture
def outside(pack, tmp_path):
    """A folder beside ComfyUI's base directory with good files of each kind, and such files above the model folders."""
    folder = pack.base.parent / f"outside-{os.getpid()}"
    folder.mkdir()
    here = pack.base / "models" / HERE
    here.parent.mkdir(exist_ok=True)
    made = []
    for place in (folder, pack.base, pack.base / "models", pack.base / "temp"):
        made += [place / f"secret{end}" for end in (".safetensors", ".onnx", ".npy")]
    for path in made:
        np.save(path, np.ones(512)) if path.suffix == ".npy" else save_file({"a": torch.ones(1)}, path)
    save_file(flat(instantid("sd15")), here)
    os.utime(here.parent)
    yield folder
    for path in [*made, here]:
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("name", FILES)
def test_no_name_leads_out_of_the_folders(pack, outside, opened, name):
    node, ending, others, words = FILES[name]
    if node == "EditIdentity":
        others = {**others, "identity": host_cases.identity(dim=9216, space="e4e-x:0")}
    pack.nodes[node].define_schema()  # what is listed for a combo is no name of the graph's
    for asked in (text.format(outside=outside, end=ending) for text in NAMES):
        opened.clear()
        refused = pack.nodes[node].validate_inputs(**{key: value for key, value in others.items() if key in ASKED}
                                                   | {name: asked})  # fmt: skip
        assert words in refused, (asked, refused)
        with pytest.raises(ValueError, match=words):  # over a wire, where nothing is asked before the node runs
            pack.nodes[node].execute(**others, **{name: asked})
        taken = [path for path in opened if "secret" in path or path.startswith(str(outside))]
        assert not taken, (asked, taken)
    with pytest.raises(ComfyError) as caught:  # and that is what a prompt is told
        outputs(pack, node, **others, **{name: asked})
    assert words in str(caught.value)


def test_every_input_that_names_a_file_is_tested(pack):
    """A combo of files is one whose choices are not the same on every machine."""
    fixed = {}
    for node_id, node in pack.own_nodes().items():
        for one in node.define_schema().inputs:
            if getattr(one, "options", None) is not None:
                fixed.setdefault((node_id, one.id), tuple(one.options))
    folder = pack.base / "models"
    added = [folder / name for name in ("instantid/new.bin", "loras/new.safetensors", "face_encoders/new.onnx",
                                        "likeness_directions/new.npy", "insightface/models/new/new.onnx")]  # fmt: skip
    added.append(pack.base / "input/new.safetensors")
    for path in added:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path.parent)
    try:
        grown = {key for key, options in fixed.items()
                 if tuple(next(one for one in pack.nodes[key[0]].define_schema().inputs if one.id == key[1]).options)
                 != options}  # fmt: skip
        assert grown == {(node, name) for name, (node, *_) in FILES.items()}
    finally:
        for path in added:
            path.unlink()
        (folder / "insightface/models/new").rmdir()


def test_no_node_makes_a_link_and_none_is_made_to_lead_out(pack, tmp_path):
    """Links are the owner's, who may keep models elsewhere; a name through one ends below it, or nowhere."""
    (tmp_path / "inside").mkdir()
    person = host_cases.identity()
    save_file({"a": torch.ones(1)}, tmp_path / "secret.safetensors")
    link = pack.base / "input/link"
    link.symlink_to(tmp_path / "inside", target_is_directory=True)
    try:
        with pytest.raises(ComfyError, match="was not found in ComfyUI's input or output folder"):
            outputs(pack, "LoadIdentity", identity_file="link/../secret.safetensors [input]")
    finally:
        link.unlink()
    result = run_node(pack, "SaveIdentity", identity=person, filename_prefix="people/link")
    [saved] = result.outputs["node"]["identities"]
    path = pack.base / "output" / saved["subfolder"] / saved["filename"]
    assert path.is_file() and not path.is_symlink() and not path.parent.is_symlink()
