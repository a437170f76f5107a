"""The intact files of every reader beside the face encoders', small, as bytes."""

import functools
import hashlib
import json
import tempfile
from pathlib import Path

import descriptor_files
import numpy as np
import parser_files
import torch
from fake_comfyui import GRAPH, INFO
from likeness.cli.attempt import Outcome
from likeness.cli.batch import Job
from likeness.cli.durable import as_line
from likeness.cli.graph import Plan
from likeness.cli.table import Row
from likeness.core.faces.identity.identity import combine_identity
from likeness.core.faces.identity.identity_file import save_identity
from tiny import uniportrait
from tiny.eva import eva
from tiny.families import FILES
from tiny.files import instantid
from tiny.ip_adapter import flat
from tiny.siglip import siglip

ADAPTERS = {**FILES, "instantid": lambda: instantid("sd15")}


@functools.cache
def adapter(name: str) -> dict[str, torch.Tensor]:
    """A family's tensors, in half precision."""
    return {key: tensor.half() for key, tensor in flat(ADAPTERS[name]()).items()}


@functools.cache
def router() -> dict[str, torch.Tensor]:
    """UniPortrait's router."""
    return flat(uniportrait.router())


@functools.cache
def network(name: str) -> dict[str, torch.Tensor]:
    """A face parser, an EVA-CLIP, a SigLIP, an e4e or a TransFace."""
    if name == "parser":
        return {key: tensor.half() if tensor.is_floating_point() else tensor
                for key, tensor in parser_files.reference().state_dict().items()}  # fmt: skip
    if name == "eva":
        return {key: tensor for key, tensor in eva().items() if "rope." not in key}
    if name == "siglip":
        return siglip("narrow")
    return {"e4e": descriptor_files.e4e, "transface": descriptor_files.transface}[name]()[1]


@functools.cache
def identity() -> bytes:
    """What SaveIdentity writes."""
    vectors = torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    made, _ = combine_identity("dlib-resnet34-128", vectors, torch.ones(3), "mean", torch.ones(3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "anna.safetensors")
        save_identity(made, path)
        return path.read_bytes()


def direction(rows: int) -> np.ndarray:
    """One of StyleGAN's directions, [512] or [18,512]."""
    return np.random.default_rng(rows).normal(size=(rows, 512) if rows > 1 else 512).astype(np.float32)


LANDMARKS = json.dumps({"size": [640, 480], "faces": [[[300, 200], [340, 200], [320, 220], [305, 240], [335, 240]]]})
_POINTS = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]
DESCRIPTION = json.dumps({"input_size": [112, 112], "mean": [127.5, 127.5, 127.5], "std": 128, "color_order": "BGR",
                          "template": _POINTS, "half_precision": True})  # fmt: skip
CSV = 'key,2.seed,2.text,note\na,1,"photo, of ""Anna""",x\nb,2,,\nc,3,名前,y\n'
JSONL = '{"key": "a", "2.seed": 1, "note": null}\n{"key": "b", "2.seed": 2.5, "on": true}\n'
WORKFLOW = json.dumps(GRAPH)
PAGE = json.dumps({
    "nodes": [{"id": 1, "type": "Load", "properties": {
        "models": [{"name": "a.safetensors", "url": "https://example.com/a", "directory": "checkpoints"}]}}],
    "models": [{"name": "b.safetensors", "url": "https://example.com/b", "directory": "loras"}],
})  # fmt: skip
OBJECT_INFO = json.dumps(INFO)
PICTURE = b"picture"
_SHA256 = hashlib.sha256(PICTURE).hexdigest()
ROWS = ("a", "b", "c")


def jobs() -> list[Job]:
    """The rows of a batch."""
    plans = {key: Plan({"2": {"class_type": "Draw", "inputs": {"seed": number}}}) for number, key in enumerate(ROWS)}
    return [Job(Row(key, {}), plan, None, {"2.seed": 1}, {"note": "x"}) for key, plan in plans.items()]


def manifest() -> str:
    """What a batch writes: two rows done, one failed."""
    lines = []
    for job in jobs():
        file = {"path": f"{job.row.key}/2-draw-1.png", "sha256": _SHA256, "bytes": 7, "node": "2", "title": "Draw"}
        score = {"2": {"title": "Draw", "scores": [0.9], "threshold": 0.5, "outcomes": ["accepted"]}}
        outcome = Outcome("done", None, [file], score, "accepted")
        if job.row.key == "c":
            outcome = Outcome("failed", "It failed.")
        lines.append(as_line(job.record(outcome, "http://127.0.0.1:1", "1-2-3")).decode())
    return "".join(lines)


def queued() -> str:
    """What a killed batch leaves: which prompts it had sent off."""
    return "".join(
        as_line({"row": job.row.key, "work": job.digest, "server": "http://127.0.0.1:1", "prompt_id": "1-2-3"}).decode()
        for job in jobs()
    )
