"""ComfyUI in the test process: `pack` is Likeness as ComfyUI's own loader loads it, `tiny_files` are models to run."""

import importlib.util
import os
import shutil

import pytest
from comfy_process import ROOT, TINY_MODELS, HostPack, load_likeness, start_nodes


@pytest.fixture(scope="session")
def pack() -> HostPack:
    return load_likeness()


@pytest.fixture(scope="session")
def comfyui() -> HostPack:
    """ComfyUI with the tiny models' configurations, but without Likeness."""
    return HostPack(start_nodes() / "custom_nodes" / TINY_MODELS.name)


@pytest.fixture(scope="session")
def tiny_files(comfyui, tiny_models):
    """The files of tests/tiny in ComfyUI's models folder, and ComfyUI able to load them."""
    shutil.copytree(tiny_models, comfyui.base / "models", dirs_exist_ok=True)
    return [comfyui.base / "models" / path.relative_to(tiny_models) for path in tiny_models.rglob("*.*")]


@pytest.fixture(scope="session")
def cases():
    """A tiny model with an identity applied (cure_cases.Case) of each kind."""
    from cure_cases import Case
    from host_cases import SITES, adapter
    from tiny.unet import unet

    return {kind: Case(kind, unet(kind), adapter(kind)) for kind in SITES}


@pytest.fixture
def kind():
    """The tiny model that a test runs on. Where the model's own layout may matter, tests are parametrized by `kind`."""
    return "sd15"


@pytest.fixture
def case(cases, kind):
    return cases[kind]


@pytest.fixture
def sd15(cases):
    return cases["sd15"]


@pytest.fixture(scope="module")
def encoder():
    """The embedded face encoder. It looks at pictures as they are: turning faceless ones takes most of a test."""
    from likeness.core.host.faces.encoder import load_encoder

    return load_encoder("embedded", "auto", 0.5, "plain")


@pytest.fixture(scope="module", autouse=True)
def small_grid():
    """Face parsers look at a small picture. Weights are random; tests/unit/test_parser.py looks at the whole of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("likeness.core.faces.regions.parser.GRID", (96, 96))
        yield


@pytest.fixture(scope="module")
def applied():
    """The inputs of ApplyIDAdapter that have nothing to do with who the person is."""
    import host_cases
    from tiny.unet import unet

    return {
        "model": unet("sd15"),
        "positive": host_cases.conditioning("sd15", seed=1),
        "negative": host_cases.conditioning("sd15", seed=2),
        "adapter": host_cases.adapter("sd15"),
        "weight": 0.8,
        "start_at": 0.0,
        "end_at": 1.0,
        "weight_type": "linear",
        "on_no_face": "error",
    }


@pytest.fixture(scope="module")
def overhead():
    spec = importlib.util.spec_from_file_location("overhead", ROOT / "benchmarks/overhead.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def parser_file(pack):
    """A face parser of random weights in ComfyUI's folder, the only one there."""
    import torch
    from parser_files import reference

    folder = pack.base / "models/face_parsing"
    folder.mkdir(exist_ok=True)
    torch.save(reference().state_dict(), folder / "79999_iter.pth")
    os.utime(folder)  # a file that comes within the same tick of the clock would not be seen
    yield
    shutil.rmtree(folder)
