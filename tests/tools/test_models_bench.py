"""The ruler for anybody's models: what it makes of workflows and of files, and a run on a real server."""

import io
import json

import models
import pytest
import torch
from comfy_process import find_comfyui
from commands import draw_people
from fake_comfyui import FakeServer
from graphs import ROOT, example_on_tiny_models, group_photograph
from likeness.cli import graph as graphs
from likeness.cli.problems import Usage
from models_bench import clip
from models_bench.conditions import condition, known
from models_bench.graph import (
    LIKENESS,
    PICTURE,
    REFERENCE,
    asked,
    identity_controls,
    measured,
    read_parts,
    with_inputs,
    with_steps,
)
from PIL import Image
from safetensors.torch import save_file
from tiny.towers import towers, write_towers

API = ROOT / "workflows/api"
CURED = "Save with the cure"  # of the two pictures of facelets_cure
PORTRAIT = API / "facelets_portrait.json"
OPEN_CLIP = (("self_attn.out_proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
             ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"))  # fmt: skip
TOKENIZER = find_comfyui() / "comfy/sd1_tokenizer"


def workflow(name):
    return graphs.load(API / f"{name}.json")


def ready(name, encoder="embedded", picture=None):
    graph = workflow(name)
    parts = read_parts(graph, picture)
    return measured(graph, parts, encoder), parts


def classes(graph):
    return sorted(node["class_type"] for node in graph.values())


# Workflows

REFUSED = {
    "arc2face": "No SaveImage of the workflow comes behind an ApplyIDAdapter",
    "arc2face_new_people": "No SaveImage of the workflow comes behind an ApplyIDAdapter",
    "consistentid": "The person is in the prompt here",
    "photomaker": "The person is in the prompt here",
    "facelets_best_of": "2 SaveImage nodes come behind",
    "facelets_cure": "2 SaveImage nodes come behind",
    "facelets_detailer": "through 2 ApplyIDAdapter",
    "facelets_five_photographs": "through 2 ApplyIDAdapter",
    "facelets_two_people": "through 2 ApplyIDAdapter",
    "facelets_saved_identity": "comes from no picture",
    "two_people_masks": "through 2 ApplyIDAdapter",
    "uniportrait_two_people": "through 2 ApplyIDAdapter",
    "withanyone_two_people": "through 2 ApplyIDAdapter",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in API.glob("*.json")))
def test_every_example_is_measured_or_told_why_not(name):
    if name in REFUSED:
        with pytest.raises(Usage, match=REFUSED[name]):
            ready(name)
        return
    graph, parts = ready(name)
    graph = asked(graph, parts, "a person, laughing", 7)
    kinds = classes(graph)
    assert kinds.count("SaveImage") == kinds.count("IDSimilarity") == 1 and "PreviewImage" not in kinds
    assert all(node["inputs"].get("seed", 7) == 7 for node in graph.values())
    assert "a person, laughing" in graph[parts.text]["inputs"].values()
    assert any(REFERENCE in link for link in graph[parts.adapter]["inputs"].values() if isinstance(link, list)) or any(
        node["inputs"].get("image") == [REFERENCE, 0] for node in graph.values() if node is not graph[LIKENESS]
    )


def test_a_prompt_that_comes_from_a_node_of_its_own_reaches_the_cure_too():
    graph, parts = ready("facelets_cure", picture=CURED)
    graph = asked(graph, parts, "a person, laughing", 1)
    cures = [node["inputs"]["prompt"] for node in graph.values() if node["class_type"] == "AttributeCure"]
    assert cures == ["a person, laughing"] and "PrimitiveStringMultiline" not in classes(graph)


def test_steps_are_set_or_it_is_said_why_not():
    graph, parts = ready("facelets_portrait")
    [sampler] = parts.samplers
    assert with_steps(graph, 3)[sampler]["inputs"]["steps"] == 3
    with pytest.raises(Usage, match="The steps of .* come from another node, where --steps does not reach"):
        with_steps(with_inputs(graph, sampler, steps=["9", 0]), 3)
    with pytest.raises(Usage, match="No node of the workflow has steps"):
        with_steps({"1": {"class_type": "SaveImage", "inputs": {}}}, 3)


# Conditions


def changed(name, graph, parts, controls=(), scaled=False):
    return condition(name, graph, parts, "a person, laughing", list(controls), scaled)


def test_conditions_change_one_thing_each():
    graph, parts = ready("facelets_portrait", "workflow")
    weights = {name: changed(name, graph, parts)[parts.adapter]["inputs"]["weight"]
               for name in ("foundation", "adapter", "weight-0.5", "start-0.4")}  # fmt: skip
    assert weights == {"foundation": 0.0, "adapter": 0.8, "weight-0.5": 0.4, "start-0.4": 0.8}
    assert changed("start-0.4", graph, parts)[parts.adapter]["inputs"]["start_at"] == 0.4
    assert changed("adapter", graph, parts) == graph


def test_a_cure_is_put_before_the_sampler():
    graph, parts = ready("facelets_portrait", "workflow")
    cured = changed("cure-0.5", graph, parts)
    [sampler] = parts.samplers
    added = cured[cured[sampler]["inputs"]["model"][0]]
    assert added["class_type"] == "AttributeCure" and added["inputs"]["model"] == graph[sampler]["inputs"]["model"]
    assert added["inputs"]["strength"] == 0.5 and added["inputs"]["prompt"] == "a person, laughing"
    told = {name: changed(name, graph, parts)["bench-cure-1"]["inputs"] for name in ("freecure", "shared_attention")}
    assert told["freecure"]["mode"] == "freecure" and told["freecure"]["trajectory"] == "separate"
    assert told["shared_attention"]["mode"] == "shared_attention" and told["shared_attention"]["strength"] == 1


def test_the_workflow_s_own_cure_is_taken_out_and_its_settings_stay():
    graph, parts = ready("facelets_cure", picture=CURED)
    [own] = [node_id for node_id, node in graph.items() if node["class_type"] == "AttributeCure"]
    graph[own]["inputs"]["end_at"] = 0.7
    assert "AttributeCure" not in classes(changed("adapter", graph, parts))
    cured = changed("cure-1", graph, parts)
    assert classes(cured).count("AttributeCure") == 1 and cured["bench-cure-1"]["inputs"]["end_at"] == 0.7


def test_controls_that_read_the_identity_go_with_it():
    graph, parts = ready("instantid_basic")
    controls = identity_controls(graph, parts)
    assert [graph[one]["class_type"] for one in controls] == ["LandmarkControl"]
    assert "LandmarkControl" not in classes(changed("foundation", graph, parts, controls, True))
    assert changed("weight-0.5", graph, parts, controls, True)[controls[0]]["inputs"]["strength"] == 0.4
    assert changed("start-0.2", graph, parts, controls, True)[controls[0]]["inputs"]["start_at"] == 0.2
    assert changed("weight-0.5", graph, parts, controls, False)[controls[0]]["inputs"]["strength"] == 0.8


@pytest.mark.parametrize("name", ["weight", "cure-2", "start-1.5", "both"])
def test_no_condition(name):
    with pytest.raises(Usage, match="is no condition; there are foundation, adapter"):
        known(name)
    assert known("weight-1.2") == "weight-1.2"


# CLIP


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "both.safetensors"
    write_towers(path)
    return path


def open_clip(tensors):
    """The same tensors under OpenCLIP's names, written down anew."""
    names = {new: old for old, new in clip._NAMES.items()}
    found = {names[name]: tensor for name, tensor in tensors.items() if name in names}
    found["visual.proj"] = tensors["visual_projection.weight"].T.contiguous()
    found["text_projection"] = tensors["text_projection.weight"].T.contiguous()
    for tower, prefix in (("text_model", ""), ("vision_model", "visual.")):
        for number in range(2):
            old, new = f"{tower}.encoder.layers.{number}.", f"{prefix}transformer.resblocks.{number}."
            for kind in ("weight", "bias"):
                parts = [tensors[f"{old}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                found[f"{new}attn.in_proj_{kind}"] = torch.cat(parts)
                for theirs, ours in OPEN_CLIP:
                    found[f"{new}{ours}.{kind}"] = tensors[f"{old}{theirs}.{kind}"]
    return found


@pytest.mark.parametrize("layout", ["transformers", "open_clip"])
def test_cosines_are_those_of_transformers(clip_file, tmp_path, layout):
    from transformers import CLIPImageProcessor, CLIPTokenizer

    path, model = clip_file, towers()
    if layout == "open_clip":
        path = tmp_path / "open_clip_pytorch_model.bin"
        torch.save(open_clip(model.state_dict()), path)
    Image.effect_noise((40, 60), 80).save(tmp_path / "noise.png")
    texts = ["a person, laughing", "a person with long straight red hair and sunglasses"]
    ours = clip.Towers(clip.file_of(str(path), tmp_path), TOKENIZER)
    cosines = ours.pictures([tmp_path / "noise.png"]) @ ours.texts(texts).T

    tokens = CLIPTokenizer.from_pretrained(TOKENIZER)(texts, padding=True, return_tensors="pt")
    pixels = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})(
        images=[Image.open(tmp_path / "noise.png").convert("RGB")], return_tensors="pt"
    )
    with torch.inference_mode():
        whole = model(**tokens, **pixels)
    assert torch.allclose(cosines, whole.image_embeds @ whole.text_embeds.T, atol=1e-5)


def test_files_without_both_towers(tmp_path):
    vision = {name: tensor for name, tensor in towers().state_dict().items() if not name.startswith("text")}
    save_file(vision, tmp_path / "vision.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        Usage, match="vision.safetensors holds only CLIP's vision tower, and prompts need the text tower"
    ):
        clip.file_of("vision.safetensors", tmp_path)
    with pytest.raises(Usage, match="other.safetensors is no CLIP model with both towers"):
        clip.file_of("other.safetensors", tmp_path)
    with pytest.raises(Usage, match="There is no CLIP model .*folder/model.safetensors"):
        clip.file_of("folder", tmp_path)


# The command


def told(tmp_path, *more, workflow=PORTRAIT):
    if not (tmp_path / "people").exists():
        draw_people(tmp_path / "people")
    return [str(word) for word in ("--workflow", workflow, "--references", tmp_path / "people", "--out",
                                   tmp_path / "out", "--first", "1", *more)]  # fmt: skip


@pytest.fixture
def fake():
    """A server that draws the same grey picture for everybody, and finds it half like them."""
    grey = io.BytesIO()
    Image.new("RGB", (32, 32), "grey").save(grey, "PNG")
    with FakeServer() as server:
        server.files["x.png"] = grey.getvalue()
        report = json.dumps({"threshold": 0.0, "images": [{"outcome": "accepted"}]})
        server.outputs = {
            PICTURE: {"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]},
            LIKENESS: {"scores": [0.5], "report": [report]},
        }
        yield server


def test_what_is_done_is_not_asked_for_again(fake, tmp_path, capsys, clip_file, monkeypatch):
    read = []
    towers = clip.Towers
    monkeypatch.setattr(clip, "Towers", lambda *given: read.append(given) or towers(*given))
    words = told(tmp_path, "--server", fake.address, "--clip", clip_file, "--conditions", "foundation", "adapter")
    assert models.main(words) == 0
    said = capsys.readouterr().out
    assert "| adapter | 6 | 0 | 1.000 ± 0.000 | 0.500 ± 0.000 |" in said
    rows = (tmp_path / "out/pictures.csv").read_text().splitlines()
    assert len(rows) == 13 and (tmp_path / "out/sheet_01.jpg").exists()
    assert len(fake.prompts) == 2 + 12  # two references, and the pictures
    assert len(read) == 1  # CLIP is read once for all conditions
    assert models.main(words) == 0
    assert len(read) == 1 and capsys.readouterr().out == said and len(fake.prompts) == 2 + 12 + 2
    assert models.main([*words, "cure-1"]) == 0 and len(fake.prompts) == 2 + 12 + 2 + 2 + 6


def test_the_same_noise_under_every_condition_and_another_for_everybody(fake, tmp_path):
    models.main(told(tmp_path, "--server", fake.address, "--conditions", "foundation", "adapter"))
    seeds = [graph["12"]["inputs"]["seed"] for graph in fake.prompts.values() if "12" in graph]
    assert len(seeds) == 12 and len(set(seeds)) == 6


def test_a_failed_prompt_is_a_row_that_says_so(fake, tmp_path, monkeypatch, capsys):
    take = fake.take

    def fail(body):
        answer = take(body)
        if PICTURE in body["prompt"] and "hair" in json.dumps(body["prompt"]):
            message = ["execution_error", {"node_id": "12", "exception_message": "Out of memory"}]
            fake.history[body["prompt_id"]] = {"outputs": {}, "status": {"completed": False, "messages": [message]}}
        return answer

    monkeypatch.setattr(fake, "take", fail)
    assert models.main(told(tmp_path, "--server", fake.address, "--conditions", "adapter")) == 1
    rows = (tmp_path / "out/pictures.csv").read_text()
    assert "Draw the same person (node 12): Out of memory." in rows
    assert models.NO_CLIP in capsys.readouterr().err


def test_a_folder_of_another_run_is_left_alone(fake, tmp_path, capsys):
    words = told(tmp_path, "--server", fake.address, "--conditions", "adapter")
    assert models.main(words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "one.txt").write_text("a person with [red hair]\n")
    [first, _] = sorted((tmp_path / "people").iterdir())
    (tmp_path / "fewer").mkdir()
    (tmp_path / "fewer" / first.name).write_bytes(first.read_bytes())
    capsys.readouterr()
    for more, other in (
        (["--prompts", str(tmp_path / "one.txt")], "prompts"), (["--first", "2"], "prompts"),
        (["--references", str(tmp_path / "fewer")], "references"), (["--seeds", "2"], "seeds"),
        (["--steps", "3"], "steps"), (["--encoder", "workflow"], "encoder"),
        (["--workflow", str(API / "facelets_cure.json"), "--picture", CURED], "workflow"),
    ):  # fmt: skip
        assert models.main([*words, *more]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"{tmp_path / 'out'} holds pictures of another run (with other {other}); give another --out."
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_workflow_of_several_pictures_is_told_at_the_first_result(fake, tmp_path, capsys):
    fake.outputs[PICTURE]["images"] *= 2
    words = told(tmp_path, "--server", fake.address, "--conditions", "adapter", "foundation")
    assert models.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("The workflow gave 2 pictures for one prompt")
    assert len(fake.prompts) <= 2 + 2  # two references, and what a server has at once


def test_what_is_going_on_is_said(fake, tmp_path, capsys):
    words = told(tmp_path, "--server", fake.address, "--conditions", "foundation", "adapter")
    (tmp_path / "people/notes.txt").touch()
    (tmp_path / "people/third.HEIC").touch()
    assert models.main(words) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("so left out: notes.txt, third.HEIC") and said[1] == models.NO_CLIP
    assert said[2:5] == ["Looking for a face in 2 photographs.", "condition 1 of 2: foundation",
                         "foundation: 6 done, 0 of them without a face; 0 failed"]  # fmt: skip
    assert said[5] == "condition 2 of 2: adapter" and str(tmp_path / "out/table.md") in said[-1]


def test_what_is_done_stays_is_said_only_of_something(fake, tmp_path, capsys):
    words = told(tmp_path, "--server", fake.address, "--conditions", "adapter")
    assert models.main([*words, "--server", "127.0.0.1:9"]) == 0
    assert models.main([*told(tmp_path, "--server", "127.0.0.1:9", "--conditions", "adapter")]) == 4
    assert capsys.readouterr().err.splitlines()[-1].startswith("What is done stays")


@pytest.mark.parametrize("option", ["--seeds", "--first", "--steps"])
@pytest.mark.parametrize("value", ["0", "-1", "few"])
def test_numbers_from_one(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit):
        models.main(told(tmp_path, f"{option}={value}"))
    assert f"argument {option}: {value} is no whole number from 1 on" in capsys.readouterr().err


BAD = {
    "a missing workflow": (["--workflow", "nowhere.json"], "nowhere.json can't be opened"),
    "the page's format": (["--workflow", str(ROOT / "workflows/faceid_sd15.json")], "is a workflow of the page"),
    "no adapter": (["--workflow", str(API / "arc2face.json")], "No SaveImage of the workflow comes behind"),
    "no photographs": (["--references", str(ROOT / "cli")], "has no photographs"),
    "no folder": (["--references", "nowhere"], "nowhere is no folder"),
    "no server": (["--server", "127.0.0.1:9"], "does not answer; start ComfyUI there"),
    "no condition": (["--conditions", "cured"], "'cured' is no condition"),
    "no CLIP model": (["--clip", "nowhere.safetensors"], "There is no CLIP model"),
    "no ComfyUI": (["--clip", "x", "--comfyui", "/nowhere"], "/nowhere is no ComfyUI"),
    "no such node": (["--picture", "Nobody"], "No node has the id or the title 'Nobody'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence(tmp_path, capsys, what):
    more, sentence = BAD[what]
    assert models.main(told(tmp_path, *more)) > 1
    said = [line for line in capsys.readouterr().err.splitlines() if line not in (models.NO_CLIP,)]
    assert sentence in said[0] and len(said) == 1 and not (tmp_path / "out").exists()


def test_facelets_on_a_real_server(server, tmp_path, capsys, clip_file):
    """And a photograph in which nobody is found is named before anything is drawn."""
    words = told(tmp_path, "--server", server._url, "--clip", clip_file, "--steps", "2", "--encoder", "workflow")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a person with [red hair]\n")
    words += ["--prompts", str(prompts), "--conditions", "foundation", "adapter", "cure-1"]
    assert models.main(words) == 0
    assert "| cure-1 | 2 | 0 |" in capsys.readouterr().out
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "people/wall.png")
    assert models.main([*words, "--out", str(tmp_path / "another")]) == 2
    said = capsys.readouterr().err
    assert "Nobody can be measured by wall.png" in said and "person" not in said.split("Nobody can")[1].split("(")[0]


def test_a_published_layout_on_a_real_server(server, tmp_path, capsys):
    """InstantID on a tiny SDXL: its ControlNet is known by what LoadIDAdapter says of the file."""
    graph = example_on_tiny_models(size=128, steps=1)
    (tmp_path / "workflow.json").write_text(json.dumps(graph))
    people = tmp_path / "people"
    people.mkdir()
    Image.open(group_photograph()).resize((640, 443)).save(people / "t1.jpg")
    (tmp_path / "prompts.txt").write_text("a person with [red hair]\n")
    words = told(tmp_path, "--server", server._url, "--prompts", tmp_path / "prompts.txt", "--encoder", "workflow",
                 "--conditions", "foundation", "weight-0.5", workflow=tmp_path / "workflow.json")  # fmt: skip
    assert models.main(words) == 0
    assert "| foundation | 1 | 0 |" in capsys.readouterr().out
    ran = [entry["prompt"][2] for entry in server._get("/history").json().values()]
    mine = [graph for graph in ran if PICTURE in graph and "person with red hair" in json.dumps(graph)
            and any(node["class_type"] == "LoadIDAdapter" for node in graph.values())]  # fmt: skip
    assert ["LandmarkControl" in classes(graph) for graph in mine] == [False, True]
