"""LoadFacelets and its example, with the weights that ship: the ordinary nodes and code paths, down to the picture."""

import json
import shutil

import pytest
import torch
from comfy_process import ROOT, ComfyError
from facelets_files import SITE_WIDTHS, write_files
from likeness.core.host.facelets import load
from safetensors import safe_open

SHARED = ("text_encoder", "vae", "faces")
FILES = {
    load.UNET: ("unet", "controlnet", "ip_adapter", *SHARED),
    load.FLUX: ("flux", "flux_controlnet", "pulid", *SHARED),
}
ALL = sorted({name for names in FILES.values() for name in names})
FOLDER = ROOT / "embedded/facelets"


@pytest.fixture(scope="module")
def graph():
    return json.loads((ROOT / "workflows/api/facelets_portrait.json").read_text())


@pytest.fixture(scope="module")
def executor(pack):
    """Its cache saves the tests of changed graphs what did not change."""
    return pack.executor()


@pytest.fixture(scope="module")
def drawn(pack, graph):
    return pack.run_graph(graph)


def changed(graph, node_id, **inputs):
    return {**graph, node_id: {**graph[node_id], "inputs": {**graph[node_id]["inputs"], **inputs}}}


def image(result, node_id="13"):
    return result.values(node_id)[0]


def score(result):
    [score] = [judged["score"] for judged in json.loads(result.outputs["16"]["report"][0])["images"]]
    return score


def test_all_files_ship_and_say_how_they_were_trained():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sizes.keys() == {f"{name}.safetensors" for name in ALL} and sum(sizes.values()) <= 60e6
    for name in ALL:
        with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
            kept = {file.get_tensor(key).dtype for key in file.keys() if key != load.KNOWN_TOKENS}
            assert kept == {torch.float16}
            summary = json.loads(file.metadata()["likeness.training"])
            assert all(part["seconds"] > 0 for part in (summary.values() if name == "faces" else [summary]))


def test_the_example_draws_a_person_again(drawn):
    somebody, again = image(drawn, "6"), image(drawn)
    for picture in (somebody, again, drawn.values("11")[2]):
        assert picture.shape == (1, 128, 128, 3) and picture.std() > 0.1
    assert (somebody - again).abs().mean() > 0.05
    [faces] = drawn.outputs["7"]["faces"]
    assert len(faces["faces"]) == 1
    assert score(drawn) > 0.3
    assert drawn.values("10")[0].model is drawn.values("1")[0].model  # a patch, not a copy


def test_without_the_adapter_it_is_somebody_else(pack, graph, executor, drawn):
    without = pack.run_graph(changed(graph, "10", weight=0.0), executor)
    assert score(without) < score(drawn) - 0.15


def test_weight_and_strength_zero_are_the_plain_model(pack, graph, executor):
    nothing = changed(changed(graph, "10", weight=0.0), "11", strength=0.0)
    plain = changed(graph, "12", model=["1", 0], positive=["9", 0], negative=["3", 0])
    assert torch.equal(image(pack.run_graph(nothing, executor)), image(pack.run_graph(plain, executor)))


def test_same_graph_same_pixels_and_nothing_upstream_changes(pack, graph, drawn):
    first = {key: value.clone() for key, value in drawn.values("1")[0].model.state_dict().items()}
    again = pack.run_graph(graph)
    assert torch.equal(image(again), image(drawn))
    for key, value in drawn.values("1")[0].model.state_dict().items():
        assert torch.equal(value, first[key])


def test_every_site_gets_the_identity(drawn):
    patches = drawn.values("10")[0].model_options["transformer_options"]["patches_replace"]["attn2"]
    assert len(patches) == len(SITE_WIDTHS) == 7 and ("middle", 0, 0) in patches


@pytest.fixture(scope="module")
def flux_graph(graph):
    """The example on FLUX, sampled as the help page says."""
    sampling = {"sampler_name": "euler_ancestral", "scheduler": "normal", "steps": 40, "cfg": 1.0}
    samplers = [node_id for node_id, node in graph.items() if node["class_type"] == "KSampler"]
    for node_id in samplers:
        graph = changed(graph, node_id, **sampling)
    assert len(samplers) == 2
    return changed(graph, "1", architecture=load.FLUX)


def test_flux_draws_a_person_again(pack, flux_graph, executor):
    drawn = pack.run_graph(flux_graph, executor)
    for picture in (image(drawn, "6"), image(drawn)):
        assert picture.shape == (1, 128, 128, 3) and picture.std() > 0.1
    [faces] = drawn.outputs["7"]["faces"]
    assert len(faces["faces"]) == 1
    assert drawn.values("10")[0].model is drawn.values("1")[0].model
    without = pack.run_graph(changed(flux_graph, "10", weight=0.0), executor)
    assert score(without) < score(drawn) - 0.1


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (load.UNET, "for FLUX, but the model is SD1.5 or SDXL; load one"),
        (load.FLUX, "for SD1.5 or SDXL, but the model is FLUX; load one"),
    ],
)
def test_a_control_net_of_the_other_architecture_is_one_sentence(pack, graph, executor, architecture, said):
    [other] = {load.UNET, load.FLUX} - {architecture}
    mixed = changed(graph, "1", architecture=architecture)
    mixed["other"] = {"class_type": "LoadFacelets", "inputs": {"architecture": other}}
    with pytest.raises(ComfyError, match=said):
        pack.run_graph(changed(mixed, "11", control_net=["other", 3]), executor)


def test_a_graph_from_before_the_choice_has_the_unet(pack, graph, drawn):
    old = {**graph, "1": {**graph["1"], "inputs": {}}}
    assert torch.equal(image(pack.run_graph(old)), image(drawn))


def test_another_word_is_one_sentence(pack, graph):
    with pytest.raises(ComfyError, match="architecture is 'sdxl', but must be one of: unet, flux; choose one of these"):
        pack.run_graph(changed(graph, "1", architecture="sdxl"))


def test_identities_of_photographs_are_refused(pack, graph, executor):
    inputs = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5, "search": "plain"}
    photograph = {"class_type": "LoadFaceEncoder", "inputs": inputs}
    mixed = changed({**graph, "other": photograph}, "16", face_encoder=["other", 0])
    with pytest.raises(ComfyError, match="facelets-128.*dlib-resnet34-128|dlib-resnet34-128.*facelets-128"):
        pack.run_graph(mixed, executor)


@pytest.mark.parametrize(("architecture", "name"), [(one, name) for one, names in FILES.items() for name in names])
def test_a_missing_or_damaged_file_is_one_sentence(tmp_path, architecture, name):
    folder = write_files(tmp_path / "facelets")
    path = folder / f"{name}.safetensors"
    whole = path.read_bytes()
    for wrong in (None, b"", whole[: len(whole) // 2], b"no weights at all"):
        path.unlink(missing_ok=True)
        if wrong is not None:
            path.write_bytes(wrong)
        with pytest.raises(load.WeightsError) as caught:
            load.load_facelets(folder, architecture)
        text = str(caught.value)
        assert text.startswith(f"Facelets can't be loaded from {folder}: ") and text.endswith("install the pack again.")
        assert f"{name}.safetensors" in text and "\n" not in text
    shutil.rmtree(folder)
