"""Queueing again and again: the same pixels, an untouched model upstream, nothing that grows."""

import gc

import photographs
import pytest
import torch
from graphs import example_on_tiny_models

ADAPTER, IMAGE, MODEL = "9", "14", "1"


@pytest.fixture(scope="module")
def graph(pack, tiny_files):
    """The example workflow on the tiny models and a face of a real photograph."""
    photographs.picture("t1").crop((340, 100, 640, 400)).save(pack.base / "input/person.jpg")
    return example_on_tiny_models(size=128, steps=1)


def run(pack, graph, executor, weight):
    graph = {**graph, ADAPTER: {**graph[ADAPTER], "inputs": {**graph[ADAPTER]["inputs"], "weight": weight}}}
    result = pack.run_graph(graph, executor)
    return result.values(IMAGE)[0], result.values(MODEL)[0], result.values(ADAPTER)[0]


def test_requeues_change_nothing_and_leave_nothing(pack, graph):
    executor = pack.executor()
    first, upstream, _ = run(pack, graph, executor, 0.8)
    options, wrappers = dict(upstream.model_options["transformer_options"]), dict(upstream.wrappers)
    weights = {key: value.clone() for key, value in upstream.model.state_dict().items()}
    tensors = []
    for _ in range(3):
        # Another weight in between, so that ApplyIDAdapter and all behind it run anew; the rest is cached.
        other, _, _ = run(pack, graph, executor, 0.4)
        again, model, patched = run(pack, graph, executor, 0.8)
        assert torch.equal(again, first) and not torch.equal(other, first)
        assert model is upstream and len(patched.model_options["transformer_options"]["patches_replace"]["attn2"]) == 70
        assert len(set(patched.model_patches_models())) == 1
        del model, patched, other, again
        gc.collect()
        tensors.append(sum(torch.is_tensor(thing) for thing in gc.get_objects()))
    assert upstream.model_options["transformer_options"] == options and dict(upstream.wrappers) == wrappers
    assert all(torch.equal(value, weights[key]) for key, value in upstream.model.state_dict().items())
    assert tensors[-1] <= tensors[1], f"tensors alive after each run: {tensors}"
    without_the_cache, *_ = run(pack, graph, pack.executor(), 0.8)
    assert torch.equal(without_the_cache, first)
