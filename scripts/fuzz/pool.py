"""Cases in worker processes that are bounded in memory and time, so that what becomes of each is known."""

import importlib
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

SECONDS = 4.0  # of processor time for loading and one use, on a core that is shared
MEMORY = 1536  # MiB beyond what a worker has before its first case
PATIENCE = 60.0  # seconds on the clock before a worker is ended: cores may be busy with other things


@dataclass(frozen=True)
class Result:
    """What became of a case: an Outcome's result and text, seconds of processor time and MiB at its peak."""

    number: int
    kind: str
    name: str
    size: int
    result: str
    text: str
    seconds: float
    memory: float


def _status(key: str) -> float:
    """A line of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:"))


def _bounded() -> None:
    """From here on this process may have MEMORY more than it has."""
    limit = int((_status("VmSize") + MEMORY) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _unbounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _measured(tried, path: Path, role: str):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = _status("VmRSS"), time.process_time()
    outcome = tried(path, role)
    return outcome, time.process_time() - start, _status("VmHWM") - before


def work(pipe, source: str, seed: int, folder: Path) -> None:
    """A worker: numbers of cases come through the pipe, first their size and then their Result goes back.

    `source` names a module with `case(number, seed)`, `tried(path, role)` and `warm(folder)`.
    """
    import logging

    import torch

    logging.disable()
    torch.set_num_threads(1)
    cases = importlib.import_module(source)
    cases.warm(folder)
    while (number := pipe.recv()) is not None:
        chosen = cases.case(number, seed)
        path = folder / chosen.name
        data = chosen.make()
        path.write_bytes(data)
        size = len(data)
        del data
        pipe.send((number, chosen.kind, chosen.name, size))
        _bounded()
        outcome, seconds, memory = _measured(cases.tried, path, chosen.role)
        _unbounded()
        path.unlink()
        result, text = outcome.result, outcome.text
        if seconds > SECONDS:
            result, text = "failed", f"over time; {result}: {text}"
        elif memory > MEMORY:
            result, text = "failed", f"over memory; {result}: {text}"
        pipe.send(Result(number, chosen.kind, chosen.name, size, result, text, seconds, memory))


class Worker:
    """A process, the case that it is busy with, and since when."""

    def __init__(self, source: str, seed: int, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.source, self.seed, self.folder = source, seed, folder
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, source, seed, folder), daemon=True)
        self.process.start()
        other.close()
        self.number, self.since, self.started = None, 0.0, None

    def give(self, number: int) -> None:
        self.number, self.since, self.started = number, time.monotonic(), None
        self.pipe.send(number)

    def result(self) -> Result | None:
        """What became of the case if that is known by now; a worker that died or hangs is a failure and has ended."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Result):
                    return message
                self.started, self.since = message, time.monotonic()
        except (EOFError, ConnectionError):
            self.process.join()
            return self._failed(f"the process died ({self.process.exitcode})")
        if self.started and time.monotonic() - self.since > PATIENCE:
            self.process.kill()
            self.process.join()
            return self._failed(f"not done after {PATIENCE:g} s")
        return None

    def _failed(self, text):
        number, kind, name, size = self.started or (self.number, "making the case", "", 0)
        return Result(number, kind, name, size, "failed", text, PATIENCE, 0.0)


def run(source: str, numbers: list[int], seed: int, processes: int):
    """Results as they come."""
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(place) for place in range(processes)]
        for folder in folders:
            folder.mkdir()
        workers = [Worker(source, seed, folder) for folder in folders]
        waiting = list(reversed(numbers))
        for worker in workers:
            if waiting:
                worker.give(waiting.pop())
        while any(worker.number is not None for worker in workers):
            wait([worker.pipe for worker in workers if worker.number is not None], timeout=0.5)
            for place, worker in enumerate(workers):
                if worker.number is None or (result := worker.result()) is None:
                    continue
                yield result
                worker.number = None
                if not worker.process.is_alive():
                    workers[place] = worker = Worker(source, seed, worker.folder)
                if waiting:
                    worker.give(waiting.pop())
        for worker in workers:
            worker.pipe.send(None)
            worker.process.join()
