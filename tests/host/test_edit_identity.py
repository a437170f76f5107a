"""EditIdentity as ComfyUI runs it: its list of files, its slider, and what it says when something is missing."""

import os
import shutil

import host_cases
import numpy as np
import pytest
import torch
from likeness.core.host.who import directions as directions_module
from node_cases import outputs, sentence


@pytest.fixture
def directions(pack):
    """models/likeness_directions with two directions, gone again afterwards."""
    folder = pack.base / "models/likeness_directions"
    (folder / "own").mkdir(parents=True)
    np.save(folder / "age.npy", np.ones((18, 512)))
    torch.save(torch.full((1, 512), 2.0), folder / "own/smile.pt")
    os.utime(folder)
    yield folder
    shutil.rmtree(folder)


def test_sliders_are_chained(pack, directions):
    names = directions_module.names()
    assert names == ["age.npy", "own/smile.pt"]
    code = host_cases.identity(dim=9216, space="e4e-x:0")
    older, smiling = {"direction": "age.npy", "strength": 0.5}, {"direction": "own/smile.pt", "strength": -1.0}
    [moved] = outputs(pack, "EditIdentity", identity=code, layers="0-7", **older)
    [moved] = outputs(pack, "EditIdentity", identity=moved, layers="all", **smiling)
    step = (moved.vector - code.vector).view(18, 512)
    torch.testing.assert_close(step, torch.tensor([-1.5] * 8 + [-2.0] * 10)[:, None].expand(18, 512))
    [same] = outputs(pack, "EditIdentity", identity=code, layers="0-7", direction="age.npy", strength=0.0)
    assert same is code


def test_what_the_artist_reads(pack, directions):
    code = host_cases.identity(dim=9216, space="e4e-x:0")
    asked = {"identity": code, "direction": "age.npy", "strength": 1.0, "layers": "0-7"}
    text = sentence(pack, "EditIdentity", **{**asked, "direction": "../../secret.npy"})
    assert "The direction '../../secret.npy' was not found" in text and "likeness_directions" in text
    assert "are not understood" in sentence(pack, "EditIdentity", **{**asked, "layers": "20"})
    assert "made by dlib" in sentence(pack, "EditIdentity", **{**asked, "identity": host_cases.identity()})
    (directions / "age.npy").write_bytes(b"\x93NUMPY\x01")
    assert "age.npy is no array of numbers, or damaged" in sentence(pack, "EditIdentity", **asked)


def test_the_slider_is_one(pack):
    inputs = {one.id: one for one in pack.nodes["EditIdentity"].GET_SCHEMA().inputs}
    assert inputs["strength"].display_mode == "slider" and (inputs["strength"].min, inputs["strength"].max) == (-4, 4)
