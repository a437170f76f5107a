"""A file that is replaced between two prompts: the new content is used, whatever its name, size and time say."""

import copy
import os
import shutil

import host_cases
import photographs
import pytest
import torch
from likeness.core.faces.identity.identity_file import save_identity
from node_cases import Sink
from parser_files import reference
from safetensors.torch import save_file


def write(path, save):
    """Replace a file by another of the same size and time of writing, as a copy that keeps them does."""
    before = path.stat() if path.exists() else None
    other = path.with_name("other")
    save(other)
    if before is not None:
        assert other.stat().st_size == before.st_size
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, path)
    os.utime(path.parent)  # a file that comes within the same tick of the clock would not be seen


def sunk(graph, *value):
    return {**graph, "sink": {"class_type": "Sink", "inputs": {"value": list(value)}}}


@pytest.fixture
def run(pack, monkeypatch):
    """Runs a graph with one cache for the whole test; returns its Result."""
    monkeypatch.setitem(pack.nodes, "Sink", Sink)
    executor = pack.executor()
    # ComfyUI notes in a graph what it found of its files: each run has one of its own, as over HTTP
    return lambda graph: pack.run_graph(copy.deepcopy(graph), executor)


def test_an_adapter(pack, run):
    from tiny.files import FACE_SPACE, instantid
    from tiny.ip_adapter import flat

    path = pack.base / "models/instantid/replaced.safetensors"
    path.parent.mkdir(exist_ok=True)
    graph = sunk({"load": {"class_type": "LoadIDAdapter", "inputs": {"adapter": f"instantid/{path.name}"}}}, "load", 0)

    def weights(seed):
        write(path, lambda other: save_file(flat(instantid("sd15", seed)), other, {"likeness.face_space": FACE_SPACE}))
        state = run(graph).values("load")[0].patcher.model.state_dict()
        return torch.cat([value.flatten().float() for value in state.values()])

    first, second, third = weights(0), weights(1), weights(0)
    assert not torch.equal(first, second) and torch.equal(first, third)
    ran = Sink.runs
    run(graph)
    assert Sink.runs == ran  # nothing was replaced, nothing ran
    path.unlink()


def test_an_identity(pack, run):
    path = pack.base / "input/replaced.safetensors"
    graph = {"load": {"class_type": "LoadIdentity", "inputs": {"identity_file": f"{path.name} [input]"}}}
    for seed in (0, 1):
        person = host_cases.identity(seed)
        write(path, lambda other, person=person: save_identity(person, other))
        assert torch.equal(run(sunk(graph, "load", 0)).values("load")[0].vector, person.vector)
    path.unlink()


def test_a_face_parser(pack, run):
    """No node names its file; those that look for one run again when the folder's files are others."""
    folder = pack.base / "models/face_parsing"
    shutil.rmtree(folder, ignore_errors=True)  # what another file of tests may have left
    folder.mkdir()
    photographs.picture("t1").crop((340, 100, 640, 400)).resize((96, 96)).save(pack.base / "input/replaced.png")
    found = {"order": "largest", "index": "0", "on_no_face": "error", "mask_from": "parser", "soft_edge": 0.0}
    embedded = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5, "search": "plain"}
    graph = {
        "encoder": {"class_type": "LoadFaceEncoder", "inputs": embedded},
        "photo": {"class_type": "LoadImage", "inputs": {"image": "replaced.png"}},
        "faces": {
            "class_type": "DetectFaces",
            "inputs": {**found, "face_encoder": ["encoder", 0], "image": ["photo", 0]},
        },
    }
    masks = []
    for seed in (0, 1):
        write(folder / "a.pth", lambda other, seed=seed: torch.save(reference(seed=seed).state_dict(), other))
        masks += [run(graph).values("faces")[2] for _ in range(2)]
    shutil.rmtree(folder)
    assert masks[0] is masks[1] and masks[2] is masks[3] and not torch.equal(masks[1], masks[2])
    for node in ("ApplyIDAdapter", "AttributeCure", "IDTextEncode", "AssignFaces"):
        inputs = {name: None for kind in pack.nodes[node].INPUT_TYPES().values() for name in kind}
        before = pack.nodes[node].fingerprint_inputs(**{**inputs, "mask_from": "parser"})
        folder.mkdir()
        (folder / "b.pth").write_bytes(b"another")
        os.utime(folder)
        assert pack.nodes[node].fingerprint_inputs(**{**inputs, "mask_from": "parser"}) != before
        shutil.rmtree(folder)
        os.utime(folder.parent)
