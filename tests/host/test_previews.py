"""What nodes show while and after they run: pictures of bounded number and size, progress with words, cancelling."""

import importlib
import json
from types import SimpleNamespace

import host_cases
import numpy as np
import pytest
import torch
from comfy_process import ComfyError
from comfy_versions import say_every_step, show_previews
from graphs import text_to_image
from likeness.core.host.comfyui import progress as progress_module
from likeness.core.host.faces.encoder import load_encoder
from likeness.core.host.prompts import landmarks
from likeness.core.host.who.identity import encode_identity
from likeness.core.similarity import sheet as sheet_module
from node_cases import Given, blank, face, run_node
from PIL import Image

PAGE = "page"  # the client that has queued the prompt


def shown(pack, entry):
    """The pictures that a node's ui entry names, as arrays."""
    return [np.asarray(Image.open(pack.base / "temp" / saved["subfolder"] / saved["filename"])) for saved in entry]


def as_bytes(image):
    return np.rint(image.float().numpy() * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder():
    """The embedded encoder; it looks once, because how often it looks is not the subject here."""
    return load_encoder("embedded", "auto", 0.5, "plain")


@pytest.fixture(scope="module")
def person(encoder):
    return encode_identity(encoder, face("A"), "mean", "0", "error")[0]


def compare(pack, encoder, image, person, **inputs):
    inputs = {"threshold": 0.94, "on_no_face": "skip", **inputs}
    return run_node(pack, "IDSimilarity", face_encoder=encoder, image=image, identity=person, **inputs)


def test_id_similarity_shows_a_contact_sheet(pack, encoder, person):
    batch = torch.cat([face("C"), blank(), face("A")])
    result = compare(pack, encoder, batch, person)
    entry = result.outputs["node"]
    [sheet] = shown(pack, entry["images"])
    order = [2, 0, 1]
    for place, (index, outcome) in enumerate(zip(order, ("accepted", "rejected", "skipped"), strict=True)):
        x = sheet_module.GAP + place * (sheet_module.THUMB + 2 * sheet_module.FRAME + sheet_module.GAP)
        assert tuple(sheet[sheet_module.TEXT + sheet_module.GAP, x]) == sheet_module.COLOURS[outcome]
        own = Image.fromarray(as_bytes(batch[index])).resize((176, 176), Image.Resampling.BICUBIC)
        assert np.array_equal(sheet[39 : 39 + 176, x + 5 : x + 5 + 176], np.asarray(own))
    report = json.loads(entry["report"][0])
    assert entry["scores"] == result.values("node")[2] and report["accepted"] == 1
    again = compare(pack, encoder, batch, person).outputs["node"]
    assert np.array_equal(shown(pack, again["images"])[0], sheet)


def test_many_pictures_get_a_plot_too_and_a_bounded_history(pack, encoder, person, monkeypatch):
    for name in ("core.similarity.sheet", "core.host.who.similarity"):
        monkeypatch.setattr(f"likeness.{name}.MOST", 4)  # 25 pictures take a while to look through
    batch = face("A", 64).repeat(5, 1, 1, 1)
    entry = compare(pack, encoder, batch, person).outputs["node"]
    sheet, plot = shown(pack, entry["images"])
    assert sheet.shape[:2] == (34 + 220, 8 + 4 * 194) and plot.shape[:2] == (320, 8 + 6 * 194)
    assert len(json.dumps(entry)) < 2000 + 250 * len(batch)


def test_the_history_of_detect_faces_is_bounded(pack, encoder):
    inputs = {"face_encoder": encoder, "order": "largest", "index": "all", "on_no_face": "error",
              "details": True}  # fmt: skip
    entry = run_node(pack, "DetectFaces", image=face("A").repeat(8, 1, 1, 1), **inputs).outputs["node"]
    assert len(entry["images"]) == 8 and len(json.dumps(entry)) < 8 * 1500


@pytest.fixture(scope="module")
def posed():
    return {
        "positive": host_cases.conditioning(seed=1), "negative": host_cases.conditioning(seed=2),
        "control_net": object(), "face_index": "0", "strength": 0.0, "start_at": 0.0, "end_at": 1.0,
        "on_no_face": "error", "offset_x": 0.0, "offset_y": 0.0, "scale": 1.0, "rotate": 0.0,
    }  # fmt: skip


def test_landmark_control_shows_its_picture_and_lays_it_over_the_pose(pack, encoder, posed):
    image = face("A")
    latent = {"samples": torch.zeros(1, 4, 32, 64)}  # twice as wide as the pose picture
    result = run_node(pack, "LandmarkControl", face_encoder=encoder, image=image, latent=latent, landmarks="", **posed)
    control, laid = shown(pack, result.outputs["node"]["images"])
    image_out, described = result.values("node")[2:]
    assert np.array_equal(control, as_bytes(image_out[0])) and control.shape == (256, 512, 3)
    drawn = control.max(-1) > 0
    assert np.array_equal(laid[drawn], control[drawn]) and not laid[:, :128].any() and not laid[:, 384:].any()
    dimmed = as_bytes(image[0] * 0.6)
    inside = ~drawn[:, 128:384]
    assert np.abs(laid[:, 128:384][inside].astype(int) - dimmed[inside]).max() <= 1
    typed = run_node(
        pack, "LandmarkControl", face_encoder=encoder, image=image, latent=latent, landmarks=described, **posed
    )
    [alone] = shown(pack, typed.outputs["node"]["images"])
    assert np.array_equal(alone, control)


def test_a_pose_picture_of_any_shape_is_shown(pack, encoder, posed):
    inputs = {"face_encoder": encoder, "landmarks": "", **posed, "on_no_face": "passthrough"}
    image, latent = torch.rand(2, 40, 4000, 3), {"samples": torch.zeros(1, 4, 4, 4)}
    result = run_node(pack, "LandmarkControl", image=image, latent=latent, **inputs)
    [control] = shown(pack, result.outputs["node"]["images"])
    assert control.shape == (32, 32, 3) and not control.any()
    control = landmarks
    source = control.PoseSource(encoder, image, "", "0", "passthrough")
    assert control.preview(source, torch.ones(2, 32, 32, 3), (32, 32)).shape == (4, 32, 32, 3)


def test_landmark_control_shows_a_few_of_many(pack, encoder, posed):
    result = run_node(
        pack, "LandmarkControl", face_encoder=encoder, image=face("A").repeat(6, 1, 1, 1), landmarks="", **posed
    )
    assert len(result.outputs["node"]["images"]) == 8 and len(result.values("node")[2]) == 6


@pytest.fixture
def progress(monkeypatch):
    """What ComfyUI's progress bars say: (value, total, preview) in order."""
    import comfy.utils

    steps = []
    hook = lambda value, total, preview, node_id=None: steps.append((value, total, preview))  # noqa: E731
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    say_every_step(monkeypatch)
    return steps


def detect(pack, encoder, count):
    inputs = {"order": "largest", "index": "all", "on_no_face": "skip"}
    return run_node(pack, "DetectFaces", face_encoder=encoder, image=face("A", 96).repeat(count, 1, 1, 1), **inputs)


def test_the_bar_moves_with_the_pictures(pack, encoder, progress):
    detect(pack, encoder, 6)
    assert [step[:2] for step in progress][:2] == [(4, 6), (6, 6)]
    assert [step[:2] for step in progress][2:] == [(count, 6) for count in range(1, 7)]


@pytest.mark.parametrize("patience, client, expected", [(0.0, PAGE, True), (60.0, PAGE, False), (0.0, None, False)])
def test_words_come_below_the_node_when_it_takes_long(pack, encoder, monkeypatch, patience, client, expected):
    server, said = importlib.import_module("server"), []
    page = SimpleNamespace(client_id=client, send_progress_text=lambda *words, sid: said.append((*words, sid)))
    monkeypatch.setattr(server.PromptServer, "instance", page, raising=False)
    monkeypatch.setattr(progress_module, "_PATIENCE", patience)
    detect(pack, encoder, 6)
    words = ["Looking for faces: 0 of 6", "Looking for faces: 4 of 6", "Looking for faces: done, 6"]
    assert said[:3] == ([(line, "node", PAGE) for line in words] if expected else [])


def test_cancelling_stops_between_pictures(pack, encoder, monkeypatch):
    import comfy.model_management as mm
    import comfy.utils

    seen = []

    def cancel(value, *rest, **options):
        seen.append(value)
        mm.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", cancel)
    with pytest.raises(ComfyError, match="Interrupted in DetectFaces"):
        detect(pack, encoder, 40)
    assert seen == [4]


def test_the_samplers_previews_are_its_own(pack, tiny_files, progress, monkeypatch):
    """A run with an identity and a cure shows the sampler's previews, as many as without them."""
    import latent_preview

    show_previews(monkeypatch, latent_preview.LatentPreviewMethod.Latent2RGB)
    Given.values = {"adapter": host_cases.adapter("sd15"), "identity": host_cases.identity()}
    monkeypatch.setitem(pack.nodes, "Given", Given)
    graph = text_to_image("tiny_sd15.safetensors", "a woman with red hair")
    pack.run_graph(graph)
    plain = [step for step in progress if step[2] is not None]
    del progress[:]

    def given(name):
        return [f"given {name}", 0]

    for name in Given.values:
        graph[f"given {name}"] = {"class_type": "Given", "inputs": {"key": name}}
    graph["apply"] = {
        "class_type": "ApplyIDAdapter",
        "inputs": {
            "model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0],
            "adapter": given("adapter"), "identity": given("identity"), "weight": 0.8, "start_at": 0.0,
            "end_at": 1.0, "weight_type": "linear", "on_no_face": "error",
        },
    }  # fmt: skip
    graph["cure"] = {
        "class_type": "AttributeCure",
        "inputs": {
            "model": ["apply", 0], "clip": ["model", 1], "prompt": "a woman with red hair", "attributes": "",
            "mode": "noise_blend", "trajectory": "shared", "strength": 1.0, "abstract_pass": 0.0, "start_at": 0.0,
            "end_at": 1.0,
        },
    }  # fmt: skip
    graph["sample"]["inputs"] |= {"model": ["cure", 0], "positive": ["apply", 1], "negative": ["apply", 2]}
    graph["shown"] = {"class_type": "CureMask", "inputs": {"model": ["cure", 0], "image": ["image", 0], "opacity": 0.5}}
    result = pack.run_graph(graph)
    cured = [step for step in progress if step[2] is not None]
    assert [step[:2] for step in cured] == [step[:2] for step in plain] == [(1, 3), (2, 3), (3, 3)]
    for (*_, (kind, picture, size)), (*_, (plain_kind, plain_picture, plain_size)) in zip(cured, plain, strict=True):
        assert (kind, picture.size, size) == (plain_kind, plain_picture.size, plain_size)
    overlay = shown(pack, result.outputs["shown"]["images"])[0]
    drawn = as_bytes(result.values("shown")[1][0]).astype(int)  # ComfyUI cuts off what is saved, and does not round
    assert np.abs(drawn - overlay).max() <= 1 and overlay.std() > 5
