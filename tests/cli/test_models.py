"""What lies in ComfyUI's folders, by contents: adapters, encoders, directions, files that are none."""

import json

import numpy as np
import pytest
from batches import command
from cli_cases import run_main
from likeness.core.adapters import describe_adapter, load_adapter
from likeness.core.weights import WeightFile
from safetensors.numpy import save_file
from tiny.families import FILES, family


@pytest.fixture
def comfyui(tmp_path):
    for folder in (
        "instantid",
        "likeness/deep",
        "face_encoders",
        "likeness_directions",
        "face_parsing",
        "insightface/models/p",
    ):
        (tmp_path / "models" / folder).mkdir(parents=True)
    return tmp_path


def test_every_file_is_told_by_its_contents(comfyui, capsys):
    models = comfyui / "models"
    tensors = {key: tensor.numpy() for key, tensor in family("faceid-sdxl").items()}
    save_file(tensors, models / "likeness/deep/anything.safetensors")
    (models / "instantid/page.bin").write_text("<html>")
    save_file({"id_former.latents": np.zeros(1, np.float32)}, models / "instantid/flux2.safetensors")
    save_file({"cp.resnet.conv1.weight": np.zeros(1, np.float32)}, models / "face_parsing/a.safetensors")
    np.save(models / "likeness_directions/age.npy", np.zeros((18, 512), np.float32))
    (models / "insightface/models/p/broken.onnx").write_bytes(b"\x08")
    (models / "instantid/read.me").write_text("no weights")
    code, found, said = run_main(capsys, "models", "--comfyui", comfyui)
    by_name = {one["file"].removeprefix("models/"): one for one in found}
    assert code == 0 and said == "" and len(by_name) == 6
    adapter = by_name["likeness/deep/anything.safetensors"]
    assert (
        adapter["what"] == "IP-Adapter FaceID adapter"
        and "Faces from:" in adapter["about"]
        and adapter["problem"] is None
    )
    assert by_name["instantid/page.bin"]["problem"].startswith("page.bin is a web page, not weights")
    assert by_name["instantid/flux2.safetensors"]["what"].startswith("a PuLID adapter for FLUX.2")
    assert "LoadIDAdapter reads" in by_name["instantid/flux2.safetensors"]["problem"]
    assert by_name["face_parsing/a.safetensors"]["what"] == "a BiSeNet face parser"
    assert by_name["likeness_directions/age.npy"]["what"] == "a direction for W+ codes, 18 layers"
    assert by_name["insightface/models/p/broken.onnx"]["problem"].startswith("broken.onnx ")


def test_it_runs_from_the_packs_folder(comfyui):
    process = command("models", "--comfyui", comfyui)
    said, error = process.communicate(timeout=120)
    assert process.returncode == 0 and json.loads(said) == [] and error == ""
    process = command("models", "--comfyui", comfyui / "models")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2 and "has no folder models; give ComfyUI's own with --comfyui." in error


@pytest.mark.parametrize("name", FILES)
def test_an_adapter_is_described_as_it_is_loaded(name):
    file = WeightFile("adapter.bin", family(name), {})
    described, loaded = describe_adapter(file), load_adapter(file).spec
    assert (described.family, described.title, described.face_space) == (loaded.family, loaded.title, loaded.face_space)
    assert described.about("adapter.bin").splitlines()[:5] == loaded.about("adapter.bin").splitlines()[:5]
