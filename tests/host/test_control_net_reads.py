"""What LandmarkControl gives its ControlNet beside the picture: the identity, or the prompt."""

import pytest
import torch
from host_cases import adapter, apply, conditioning, identity, sample


@pytest.fixture(scope="module")
def graph(pack, comfyui):
    """SDXL with an identity, its ControlNet, and a control image."""
    import comfy.controlnet
    from tiny.files import controlnet
    from tiny.unet import unet

    weights = {key: value.float() for key, value in controlnet().items()}
    net = comfy.controlnet.load_controlnet_state_dict(weights)
    prompts = conditioning(seed=1), conditioning(seed=2)
    model = unet("sdxl")
    return model, prompts, apply(pack, model, *prompts, adapter(pack), identity(pack)), net, torch.rand(1, 128, 128, 3)


def controlled(pack, graph, conds, reads):
    landmarks = pack.module("core.host.landmarks")
    return landmarks.apply(*conds, graph[3], graph[4], landmarks.Strength(0.8), reads=reads)


def test_identity_and_prompt_differ_and_auto_takes_what_is_there(pack, graph):
    _, plain, (model, *conds), *_ = graph
    pictures = {reads: sample(model, *controlled(pack, graph, conds, reads), steps=1) for reads in
                ("auto", "identity", "prompt")}  # fmt: skip
    assert torch.equal(pictures["auto"], pictures["identity"])
    assert (pictures["auto"] - pictures["prompt"]).abs().max() > 1e-3
    as_ordinary = sample(model, *controlled(pack, graph, plain, "auto"), steps=1)
    assert torch.equal(pictures["prompt"], as_ordinary)
    assert all("cross_attn_controlnet" in options for _, options in conds[0])  # upstream keeps its own


def test_without_an_identity_there_is_none_to_read(pack, graph):
    with pytest.raises(ValueError, match="these prompts carry none; connect positive and negative from ApplyIDAdapter"):
        controlled(pack, graph, graph[1], "identity")
