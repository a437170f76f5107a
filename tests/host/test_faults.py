"""Prompts that are stopped, or run out of memory or room: they end at once and in a sentence, and the next finds
nothing of them."""

import gc
import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import host_cases
import pytest
import torch
from comfy_process import ROOT, ComfyError
from full_disk import full_disk
from likeness.core.host.who import identity

SAMPLER, PICTURE = "19", "20"
CURED = {"mode": "both", "trajectory": "separate", "abstract_pass": 0.5}
FULL = "Allocation on device"  # what torch says


@pytest.fixture(scope="module")
def executor(pack):
    """Its cache keeps what comes before the sampler."""
    return pack.executor()


@pytest.fixture(scope="module")
def example():
    graph = json.loads((ROOT / "workflows/api/facelets_cure.json").read_text())
    graph["5"]["inputs"]["steps"] = 4
    graph["19"]["inputs"] |= {"steps": 2, "latent_image": ["small", 0]}
    graph["14"]["inputs"] |= CURED
    graph["small"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    return {key: node for key, node in graph.items() if key not in ("15", "16", "17", "18")}


def changed(graph, **nodes):
    """The graph with other inputs of some nodes, by their ids behind an underscore."""
    ids = {name[1:]: inputs for name, inputs in nodes.items()}
    return {key: {**node, "inputs": {**node["inputs"], **ids.get(key, {})}} for key, node in graph.items()}


@pytest.fixture
def forwards(monkeypatch):
    """Counts what the U-Net is asked for, and does something in the middle of the one with the number `at`."""
    from comfy.model_base import BaseModel

    seen, original = SimpleNamespace(count=0, at=None, does=None), BaseModel._apply_model

    def counted(self, *args, **kwargs):
        seen.count += 1
        if seen.count == seen.at:
            seen.does()
        return original(self, *args, **kwargs)

    monkeypatch.setattr(BaseModel, "_apply_model", counted)
    return seen


def stop():
    import comfy.model_management as mm

    mm.interrupt_current_processing()


def run_out():
    import comfy.model_management as mm

    raise mm.OOM_EXCEPTION(FULL)


def tensors():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_a_sampler_that_breaks_off(pack, executor, example, forwards):
    """Half-way and in its last forward, which is the abstract pass's."""
    import comfy.model_management as mm

    other = changed(example, _19={"seed": 12})
    pack.run_graph(other, executor)  # all before the sampler is in the cache from here on
    forwards.count = 0
    clean = pack.run_graph(example, executor).values(PICTURE)[0].clone()
    total, before = forwards.count, tensors()
    for does, at in ((stop, total // 2), (run_out, total // 2), (stop, total)):
        forwards.count, forwards.at, forwards.does = 0, at, does
        with pytest.raises(ComfyError) as caught:
            pack.run_graph(other, executor)
        assert forwards.count == at > 0  # nothing was computed any more
        line, *more = str(caught.value).splitlines()
        if does is stop:
            assert line == f"Interrupted in KSampler ({SAMPLER})"
        else:
            assert line == f"KSampler ({SAMPLER}): {FULL}" and "ran out of memory" in more[0]
            assert mm.current_loaded_models == []
        forwards.at = None
        again = pack.run_graph(example, executor)
        assert torch.equal(again.values(PICTURE)[0], clean)
        del again
        assert tensors() <= before


def test_a_face_encoder_that_runs_out_of_memory(pack, executor, example):
    graph = {key: node for key, node in example.items() if key in set("12345678")}
    clean = pack.run_graph(graph, executor)
    encoder, other = clean.values("1")[5].patcher.model, changed(graph, _5={"seed": 7})
    report = clean.values("7")[4]
    before = tensors()
    hook = encoder.detector.register_forward_pre_hook(lambda *_: run_out())
    with pytest.raises(ComfyError, match=rf"DetectFaces \(7\): {FULL}"):
        pack.run_graph(other, executor)
    hook.remove()
    del clean
    assert pack.run_graph(graph, executor).values("7")[4] == report and tensors() <= before


def test_an_identity_that_finds_no_room_leaves_no_file(pack):
    folder = pack.base / "output"
    before = set(folder.rglob("*"))
    with full_disk(1000), pytest.raises(ValueError) as caught:
        identity.save(host_cases.identity(), "room")
    text = str(caught.value)
    assert text.startswith("The identity can't be saved as 'room' (File too large); filename_prefix must be a name")
    assert text.endswith("the folder must be writable and have room.") and set(folder.rglob("*")) == before
    assert identity.save(host_cases.identity(), "room")["filename"] == "room_00001_.safetensors"


def test_many_that_save_at_once_take_no_number_twice(pack):
    """Two ComfyUIs may share an output folder."""
    people = [host_cases.identity(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda person: identity.save(person, "crowd/one")["filename"], people))
    assert sorted(saved) == [f"one_{number:05}_.safetensors" for number in range(1, 25)]
    for name, person in zip(saved, people, strict=True):
        assert torch.equal(identity.load_identity_named(f"crowd/{name} [output]").vector, person.vector)
    assert len(list((pack.base / "output/crowd").iterdir())) == 24
