"""The training loop that all stages share: several processes, one gradient; an average of the weights; resumable.

Every step draws its pictures from a generator seeded by (stage's seed, step, process), so an interrupted training goes
on with the very pictures it would have seen.
"""

import json
import math
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn

from .pack import BUILD, sized

NICE = 10  # whoever develops on this machine comes first
SAVE_EVERY = 120  # seconds between checkpoints
LOG_EVERY = sized(50, 4)  # steps between lines of the log


class Stage(ABC):
    """One model's training. Subclasses give `build`, `loss` and `export`."""

    name = ""
    seed = 0
    steps = 1000
    batch = 32  # pictures per step, over all processes
    rate = 1e-3  # the highest learning rate
    warm_up = 100
    decay = 0.01
    average = 0.999  # of the weights, per step

    @abstractmethod
    def build(self) -> nn.Module:
        """The module to train, initialised."""

    @abstractmethod
    def loss(self, model: nn.Module, rng: np.random.Generator, count: int, progress: float) -> tuple[Tensor, dict]:
        """The loss of `count` fresh pictures, and numbers for the log; progress runs from 0 to 1."""

    @abstractmethod
    def export(self, model: nn.Module, summary: dict):
        """Write the averaged model where the pack looks for it."""

    @property
    def checkpoint(self) -> Path:
        return BUILD / f"{self.name}.pt"


def initialise(model: nn.Module):
    """Give every layer torch's own first weights: ComfyUI's layers come without."""
    for part in model.modules():
        for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
            if isinstance(part, kind) and part.weight is not None:
                kind.reset_parameters(part)
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)


def rate_at(stage: Stage, step: int) -> float:
    """Linear warm-up, then half a cosine down to a fiftieth."""
    progress = min(1.0, step / stage.steps)
    return stage.rate * min(1.0, (step + 1) / stage.warm_up) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(stage: Stage, processes: int = 2):
    """Train a stage to its end, from its checkpoint if there is one, and export it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if processes == 1:
        _work(0, stage, 1)
        return
    meeting = BUILD / f"{stage.name}.meeting"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.start_processes(
        _work_with_others, (stage, processes, meeting), processes, start_method="spawn"
    )


def _work_with_others(rank: int, stage: Stage, processes: int, meeting: Path):
    torch.set_num_threads(1)
    os.nice(NICE)
    distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=processes)
    _work(rank, stage, processes)
    distributed.destroy_process_group()


def _work(rank: int, stage: Stage, processes: int):
    torch.manual_seed(stage.seed)
    model = stage.build()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=stage.rate, betas=(0.9, 0.99), weight_decay=stage.decay, fused=True)
    averaged = [parameter.detach().clone() for parameter in trained]
    first, seconds, log = 0, 0.0, []
    if stage.checkpoint.exists():
        saved = torch.load(stage.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        averaged = saved["averaged"]
        first, seconds, log = saved["step"], saved["seconds"], saved["log"]
    started, saved_at, numbers = time.monotonic() - seconds, time.monotonic(), {}
    for step in range(first, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(stage, step)
        rng = np.random.default_rng([stage.seed, step, rank])
        torch.manual_seed(stage.seed * 1_000_003 + step * processes + rank)
        loss, measured = stage.loss(model, rng, stage.batch // processes, step / stage.steps)
        optimizer.zero_grad()
        loss.backward()
        _share_gradients(trained, processes)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        keep = min(stage.average, (1 + step) / (10 + step))
        torch._foreach_lerp_(averaged, [parameter.detach() for parameter in trained], 1 - keep)
        for name, value in {"loss": loss.item(), **measured}.items():
            numbers.setdefault(name, []).append(float(value))
        if rank == 0 and (step + 1) % LOG_EVERY == 0:
            seconds = time.monotonic() - started
            log.append({"step": step + 1, "seconds": round(seconds),
                        **{name: round(float(np.mean(values)), 5) for name, values in numbers.items()}})  # fmt: skip
            numbers = {}
            print(stage.name, json.dumps(log[-1]), flush=True)
        if rank == 0 and (step + 1 == stage.steps or time.monotonic() - saved_at > SAVE_EVERY):
            saved_at = time.monotonic()
            _save(stage, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "averaged": averaged,
                          "step": step + 1, "seconds": time.monotonic() - started, "log": log})  # fmt: skip
    if rank == 0:
        with torch.no_grad():
            for parameter, value in zip(trained, averaged, strict=True):
                parameter.copy_(value)
        seconds = round(log[-1]["seconds"]) if log else 0
        stage.export(model.eval(), {"stage": stage.name, "seed": stage.seed, "steps": stage.steps,
                                    "batch": stage.batch, "processes": processes, "seconds": seconds,
                                    "log": log[:: max(1, len(log) // 20)] + log[-1:]})  # fmt: skip


def _share_gradients(trained: list[Tensor], processes: int):
    if processes == 1:
        return
    # a step may leave some of them out, the same in every process
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in trained]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= processes
    at = 0
    for one in trained:
        if one.grad is not None:
            one.grad.copy_(flat[at : at + one.numel()].view_as(one))
        at += one.numel()


def _save(stage: Stage, state: dict):
    part = stage.checkpoint.with_suffix(".part")
    torch.save(state, part)
    part.replace(stage.checkpoint)


def read_averaged(stage: Stage, model: nn.Module) -> nn.Module:
    """`model` with the averaged weights of the stage's last checkpoint."""
    saved = torch.load(stage.checkpoint, weights_only=True)
    model.load_state_dict(saved["model"])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter, value in zip(trained, saved["averaged"], strict=True):
            parameter.copy_(value)
    return model.eval()
