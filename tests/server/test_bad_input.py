"""Bad input to a running server: refused or failed with our sentence, and the next prompt is served as ever."""

import json
import os

import photographs
import pytest
import torch
from comfy_process import ComfyError
from node_cases import blank, face
from PIL import Image
from safetensors.torch import save_file

GOOD = "tiny_instantid.safetensors"


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def place(server):
    """Bad adapters and identities, and pictures, in the folders of the running server."""
    folder = server.base / "models/instantid"
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "cut.safetensors").write_bytes((folder / GOOD).read_bytes()[:-1000])
    (folder / "page.bin").write_text("<html>404</html>")
    torch.save({"a": Hostile(f"touch '{server.base}/ran'")}, folder / "hostile.bin")
    save_file({"model.diffusion_model.out.2.weight": torch.ones(2)}, folder / "whole_model.safetensors")
    (folder / "renamed.bin").write_bytes((folder / GOOD).read_bytes())
    save_file({"x.lora_down.weight": torch.ones(1)}, server.base / "input/lora.safetensors")
    save_file({"vector": torch.ones(4)}, server.base / "secret.safetensors", {"format": "likeness.identity.1"})
    for name, image in {"anna": face("A"), "carl": face("C"), "nobody": blank(96)}.items():
        pixels = (image[0] * 255).round().byte().numpy()
        Image.fromarray(pixels).save(server.base / f"input/{name}.png")
    return server


def adapter_graph(name):
    return {
        "load": {"class_type": "LoadIDAdapter", "inputs": {"adapter": name}},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["load", 1]}},
    }


def person_graph(image, **changes):
    encode = {"face_encoder": ["encoder", 0], "image": ["image", 0], "combine": "mean", "face_index": "0"}
    encoder = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5}
    return {
        "encoder": {"class_type": "LoadFaceEncoder", "inputs": encoder},
        "image": {"class_type": "LoadImage", "inputs": {"image": image}},
        "person": {"class_type": "EncodeIdentity", "inputs": {**encode, "on_no_face": "error", **changes}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["person", 1]}},
    }


def gate_graph(threshold, on_no_face="error", picture="carl.png"):
    gate = {"face_encoder": ["encoder", 0], "image": ["picture", 0], "identity": ["person", 0]}
    graph = person_graph("anna.png")
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": picture}}
    graph["gate"] = {"class_type": "IDSimilarity", "inputs": {**gate, "threshold": threshold, "on_no_face": on_no_face}}
    for output, name in enumerate(("accepted", "rejected")):
        images = {"images": [f"flip {name}", 0], "filename_prefix": name}
        graph[f"flip {name}"] = {"class_type": "ImageInvert", "inputs": {"image": ["gate", output]}}
        graph[name] = {"class_type": "SaveImage", "inputs": images}
    return graph


def failed(server, graph):
    """The first line of what a running prompt failed with."""
    prompt_id = server.queue(graph)
    with pytest.raises(ComfyError) as caught:
        server.wait(prompt_id)
    return str(caught.value).splitlines()[0]


def shown(server, graph, node):
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "success"
    return entry["outputs"][node]["text"][0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.safetensors", "is empty (0 bytes)"),
        ("cut.safetensors", "is damaged or cut off"),
        ("page.bin", "is a web page"),
        ("hostile.bin", "holds program code besides weights, so it was not opened"),
        ("whole_model.safetensors", "is a full checkpoint or diffusion model"),
    ],
)
def test_a_bad_adapter_fails_its_own_prompt_only(place, name, words):
    assert failed(place, adapter_graph(f"instantid/{name}")).startswith(f"LoadIDAdapter (load): {name} {words}")
    assert "InstantID adapter" in shown(place, adapter_graph(f"instantid/{GOOD}"), "show")
    assert not (place.base / "ran").exists()


def test_a_misnamed_adapter_loads(place):
    assert "InstantID adapter (instantid/renamed.bin)" in shown(place, adapter_graph("instantid/renamed.bin"), "show")


@pytest.mark.parametrize("name", ["instantid/none.bin", "../../secret.safetensors", "instantid/../secret", "/secret"])
def test_an_adapter_that_is_not_listed_is_refused_at_once(place, name):
    with pytest.raises(ComfyError) as caught:
        place.queue(adapter_graph(name))
    assert f"The adapter {name!r} was not found; put its file into" in str(caught.value)
    assert f"instantid/{GOOD}" in str(caught.value)  # what there is instead


@pytest.mark.parametrize(
    "name", ["none.safetensors [input]", "../secret.safetensors [input]", "secret.safetensors", "\0"]
)
def test_an_identity_that_is_not_listed_is_refused_at_once(place, name):
    graph = {"load": {"class_type": "LoadIdentity", "inputs": {"identity_file": name}}}
    graph["save"] = {"class_type": "SaveIdentity", "inputs": {"identity": ["load", 0], "filename_prefix": "copy"}}
    with pytest.raises(ComfyError, match="was not found in ComfyUI's input or output folder; save one with"):
        place.queue(graph)
    graph["load"]["inputs"]["identity_file"] = "lora.safetensors [input]"
    assert "lora.safetensors is a LoRA, not an identity" in failed(place, graph)


@pytest.mark.parametrize("changes", [{"on_no_face": "nonsense"}, {"combine": "median"}])
def test_a_choice_that_is_not_offered_is_refused_at_once(place, changes):
    [(name, value)] = changes.items()
    with pytest.raises(ComfyError, match=f"{name} is '{value}', but must be one of:"):
        place.queue(person_graph("anna.png", **changes))


def test_photographs_without_the_face_asked_for(place):
    assert "No face was found in the image (96x96 pixels)" in failed(place, person_graph("nobody.png"))
    assert "Face index '0,,2' is not understood" in failed(place, person_graph("anna.png", face_index="0,,2"))
    assert "it has one, number 0" in failed(place, person_graph("anna.png", face_index="99"))
    assert "Identity from 1 of 1 faces" in shown(place, person_graph("anna.png"), "report")
    assert "Identity from 0 of 0 faces" in shown(place, person_graph("nobody.png", on_no_face="passthrough"), "report")


@pytest.mark.parametrize("prefix", ["../escaped", "{base}/escaped", "a\0b"])
def test_identities_stay_in_the_output_folder(place, prefix):
    graph = person_graph("anna.png")
    inputs = {"identity": ["person", 0], "filename_prefix": prefix.format(base=place.base)}
    graph["save"] = {"class_type": "SaveIdentity", "inputs": inputs}
    assert "must be a name inside ComfyUI's output folder" in failed(place, graph)
    assert not [path for path in place.base.rglob("*escaped*")]
    graph["save"]["inputs"]["filename_prefix"] = "inside/anna"
    [saved] = place.wait(place.queue(graph))["outputs"]["save"]["identities"]
    assert (place.base / "output" / saved["subfolder"] / saved["filename"]).is_file()


def test_an_empty_heap_is_no_error_and_nothing_behind_it_runs(place):
    strict = place.wait(place.queue(gate_graph(0.99)))
    assert strict["status"]["status_str"] == "success"
    assert "rejected" in strict["outputs"] and "accepted" not in strict["outputs"]
    [score] = strict["outputs"]["gate"]["scores"]
    assert score < 0.99 and json.loads(strict["outputs"]["gate"]["report"][0])["rejected"] == 1
    lax = place.wait(place.queue(gate_graph(-1.0)))
    assert "accepted" in lax["outputs"] and "rejected" not in lax["outputs"]
    faceless = place.wait(place.queue(gate_graph(0.99, "skip", "nobody.png")))
    assert {"accepted", "rejected"}.isdisjoint(faceless["outputs"]) and faceless["outputs"]["gate"]["scores"] == []
    assert "No face was found in the image" in failed(place, gate_graph(0.99, "error", "nobody.png"))


def test_the_photograph_itself_still_goes_through(place, tmp_path):
    name = place.upload_image(photographs.photographs()["t1"])
    assert "confidence" in shown(place, person_graph(name), "report")
