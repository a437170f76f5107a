"""The training loop that all stages share: several processes, one gradient; an average of the weights; resumable.

Every step draws its pictures from a generator seeded by (stage's seed, step, process), so an interrupted training goes
on with the very pictures it would have seen.
"""

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .pack import BUILD, FINISHED, sized

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
    floor = 0.02  # part of the rates that is left at the end
    matrix_rate = 0.0  # the same for matrices and convolutions, which Muon then trains instead of AdamW
    decay = 0.01
    average = 0.999  # of the weights, per step
    dtype = torch.bfloat16  # what is multiplied in; weights and their gradients stay in float32
    device = torch.device("cpu")

    def put(self, array: np.ndarray | Tensor) -> Tensor:
        """An array on the device that trains."""
        return torch.as_tensor(array).to(self.device)

    @contextmanager
    def multiplying(self) -> Iterator[None]:
        """Multiply in `dtype`; weights, their gradients and everything else stay in float32."""
        on_processor = self.device.type == "cpu"  # where plain attention is the faster one to train
        with (
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32),
            sdpa_kernel(SDPBackend.MATH) if on_processor else nullcontext(),
        ):
            yield

    def is_matrix(self, name: str) -> bool:
        """Whether Muon trains this parameter of more than one dimension: not the first and last layers, whose rows or
        columns are colours or words."""
        return True

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

    @property
    def account(self) -> Path:
        """Where it is written down how this stage was trained; a stage that has its account is finished."""
        return FINISHED / f"{self.name}.json"


def initialise(model: nn.Module):
    """Give every layer torch's own first weights: ComfyUI's layers come without."""
    for part in model.modules():
        for kind in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm):
            if isinstance(part, kind) and part.weight is not None:
                kind.reset_parameters(part)
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)


def quicken(model: nn.Module):
    """Lay a network of convolutions out for training in bfloat16: 1.4 times the speed of float32 on CPUs that
    multiply bfloat16, with norms and attention where they are fast."""
    model.to(memory_format=torch.channels_last)
    for part in model.modules():
        if isinstance(part, nn.GroupNorm):
            part.register_forward_pre_hook(lambda _, given: (given[0].float(),))


def rate_at(stage: Stage, step: int) -> float:
    """The learning rate as a part of the highest: linear warm-up, then half a cosine down to the floor."""
    progress = min(1.0, step / stage.steps)
    falling = 0.5 * (1 + math.cos(math.pi * progress))
    return min(1.0, (step + 1) / stage.warm_up) * (stage.floor + (1 - stage.floor) * falling)


class Optimizers:
    """AdamW, and Muon (Jordan 2024) for the matrices where the stage wants it.

    torch's Muon takes matrices only, so it is given views of the convolutions' weights, [out, rest].
    """

    def __init__(self, stage: Stage, model: nn.Module):
        named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self._whole = [one for name, one in named if stage.matrix_rate and one.ndim in (2, 4) and stage.is_matrix(name)]
        taken = {id(one) for one in self._whole}
        self.clipped = [one for _, one in named if id(one) not in taken]  # Muon's steps have a length of their own
        self._views = [nn.Parameter(_as_matrix(one.detach())) for one in self._whole]
        self._all: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(self.clipped, lr=stage.rate, betas=(0.9, 0.99), weight_decay=stage.decay, fused=True),
             stage.rate),
        ]  # fmt: skip
        if self._views:
            muon = torch.optim.Muon(self._views, lr=stage.matrix_rate, weight_decay=stage.decay,
                                    adjust_lr_fn="match_rms_adamw")  # fmt: skip
            self._all.append((muon, stage.matrix_rate))

    def step(self, part: float):
        """One step at this part of the highest rates."""
        for view, one in zip(self._views, self._whole, strict=True):
            view.grad = None if one.grad is None else _as_matrix(one.grad)  # a step may leave it out
        for optimizer, rate in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate * part
            optimizer.step()

    def state_dict(self) -> list[dict]:
        return [optimizer.state_dict() for optimizer, _ in self._all]

    def load_state_dict(self, states: list[dict]):
        for (optimizer, _), state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)


def _as_matrix(weight: Tensor) -> Tensor:
    """[out, rest] of a weight: a view of one that is contiguous or laid out channels last."""
    if weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        return weight.permute(0, 2, 3, 1).flatten(1)
    return weight.flatten(1)


def train(stage: Stage, processes: int = 2):
    """Train a stage on its device to its end, from its checkpoint if there is one, and export it; nothing if it is
    finished.

    The processes share the work of a processor; a graphics card is one process's.
    """
    if stage.account.exists():
        print(f"{stage.name}: finished; to train it anew, delete {stage.account} and its checkpoint", flush=True)
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    FINISHED.mkdir(parents=True, exist_ok=True)
    if processes == 1 or stage.device.type != "cpu":
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
    model = stage.build().to(stage.device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizers = Optimizers(stage, model)
    averaged = [parameter.detach().clone() for parameter in trained]
    first, seconds, log = 0, 0.0, []
    if stage.checkpoint.exists():
        saved = torch.load(stage.checkpoint, weights_only=True, map_location=stage.device)
        model.load_state_dict(saved["model"])
        optimizers.load_state_dict(saved["optimizers"])
        averaged = saved["averaged"]
        first, seconds, log = saved["step"], saved["seconds"], saved["log"]
    started, saved_at, numbers = time.monotonic() - seconds, time.monotonic(), {}
    for step in range(first, stage.steps):
        rng = np.random.default_rng([stage.seed, step, rank])
        torch.manual_seed(stage.seed * 1_000_003 + step * processes + rank)
        loss, measured = stage.loss(model, rng, stage.batch // processes, step / stage.steps)
        model.zero_grad()
        loss.backward()
        _share_gradients(trained, processes)
        torch.nn.utils.clip_grad_norm_(optimizers.clipped, 1.0)
        optimizers.step(rate_at(stage, step))
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
            _save(stage, {"model": model.state_dict(), "optimizers": optimizers.state_dict(), "averaged": averaged,
                          "step": step + 1, "seconds": time.monotonic() - started, "log": log})  # fmt: skip
    if rank == 0:
        with torch.no_grad():
            for parameter, value in zip(trained, averaged, strict=True):
                parameter.copy_(value)
        summary = {
            "stage": stage.name, "seed": stage.seed, "steps": stage.steps, "batch": stage.batch,
            "processes": processes, "device": stage.device.type, "dtype": str(stage.dtype).removeprefix("torch."),
            "seconds": round(log[-1]["seconds"]) if log else 0, "log": _thinned(log, 20),
        }  # fmt: skip
        stage.export(model.cpu().eval(), summary)
        stage.account.write_text(told({**summary, "log": _thinned(log, 100)}))


def told(account: dict) -> str:
    """An account as JSON, each entry of its log in a line of its own."""
    log = ",\n  ".join(json.dumps(entry) for entry in account["log"])
    rest = json.dumps({key: value for key, value in account.items() if key != "log"}, indent=1)
    return f'{rest[:-2]},\n "log": [\n  {log}\n ]\n}}\n'


def _thinned(log: list[dict], count: int) -> list[dict]:
    """About so many lines of a log, the last among them."""
    return log[:-1][:: max(1, len(log) // count)] + log[-1:]


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
