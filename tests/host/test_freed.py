"""What is left when ComfyUI unloads its models and forgets its cache, as /free has it do: nothing of the pack's."""

import dataclasses
import gc
import json
import logging
import sys
import weakref

import photographs
import pytest
import torch
from comfy_process import ROOT


def cured():
    graph = json.loads((ROOT / "workflows/api/facelets_cure.json").read_text())
    graph["5"]["inputs"]["steps"], graph["19"]["inputs"]["steps"] = 4, 1
    graph["14"]["inputs"]["vae"] = ["1", 2]  # so that the face parser is asked
    return {key: node for key, node in graph.items() if key not in ("15", "16", "17", "18")}


def photographed(pack):
    """The embedded encoder and the parser on a photograph."""
    photographs.picture("t1").crop((340, 100, 640, 400)).resize((128, 128)).save(pack.base / "input/freed.png")
    encoder = {"encoder": "embedded", "detector": "auto", "min_confidence": 0.5}
    found = {"order": "largest", "index": "0", "on_no_face": "passthrough", "mask_from": "parser", "soft_edge": 0.0}
    return {
        "encoder": {"class_type": "LoadFaceEncoder", "inputs": encoder},
        "photo": {"class_type": "LoadImage", "inputs": {"image": "freed.png"}},
        "faces": {
            "class_type": "DetectFaces",
            "inputs": {"face_encoder": ["encoder", 0], "image": ["photo", 0], "details": True, **found},
        },
    }


def portrait():
    """Somebody drawn, found and drawn again, in as few steps as leave a face to be found."""
    graph = json.loads((ROOT / "workflows/api/facelets_portrait.json").read_text())
    graph["5"]["inputs"]["steps"], graph["12"]["inputs"]["steps"] = 3, 2
    return graph


def alive(kind):
    gc.collect()
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kind)]


def held(thing, depth=4):
    """Tensors in a value, through containers and dataclasses."""
    if isinstance(thing, torch.Tensor | torch.nn.Module):
        return [thing]
    if depth and isinstance(thing, dict):
        thing = list(thing.values())
    elif depth and dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        thing = list(vars(thing).values())
    elif not depth or not isinstance(thing, list | tuple | set | frozenset):
        return []
    return [found for part in thing for found in held(part, depth - 1)]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_nothing_outlives_free(pack, parser_file):
    import comfy.model_management as mm
    from comfy.model_patcher import ModelPatcher

    executor = pack.executor()
    mm.unload_all_models()
    known, loaded = set(map(id, alive(ModelPatcher))), len(mm.current_loaded_models)
    tensors = len(alive(torch.Tensor))
    made = []
    for graph in (cured(), photographed(pack)):
        pack.run_graph(graph, executor)
        made += [(type(one.model).__name__, weakref.ref(one)) for one in alive(ModelPatcher) if id(one) not in known]
    assert {"FaceEncoder", "FaceParser", "BaseModel", "ControlNet", "FaceletsAutoencoder"} <= {name for name, _ in made}
    mm.unload_all_models()
    executor.reset()
    gc.collect()
    assert [name for name, patcher in made if patcher() is not None] == []
    assert len(mm.current_loaded_models) == loaded and len(alive(torch.Tensor)) <= tensors
    modules = {name: module for name, module in sys.modules.items() if name.startswith(pack.module_name)}
    values = {f"{name}.{key}": value for name, module in modules.items() for key, value in vars(module).items()}
    assert len(modules) > 100 and [name for name, value in values.items() if held(value)] == []


def test_drawing_again_leaves_nothing(pack, caplog):
    """What Python holds after /free is as much after every prompt, once what is made once is made."""
    import comfy.model_management as mm

    caplog.set_level(logging.CRITICAL)  # pytest keeps what is logged
    executor, held = pack.executor(), []
    for _ in range(3):
        pack.run_graph(portrait(), executor)
        mm.unload_all_models()
        executor.reset()
        gc.collect()
        held.append((sys.getallocatedblocks(), len(gc.get_objects())))
    (blocks, objects), (last_blocks, last_objects) = held[1:]
    assert last_blocks - blocks < 400 and last_objects - objects < 50, held  # a model has a thousand tensors
