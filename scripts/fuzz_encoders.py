"""Load thousands of damaged and hostile encoder files, each in a bounded process, and print what became of them.

    make fuzz-encoders
    make fuzz-encoders ARGS="--cases 200 --seed 1"
    make fuzz-encoders ARGS="--only 1234"     # one case, with its file left in out/fuzz-encoders

Every case must end in a working encoder or in a WeightsError of one sentence, within 2 s of processor time and 1.5 GiB
of memory. Anything else is a failure, and the exit code says so.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts, in every worker

import conftest  # noqa: E402, F401  (loads the pack)
from damaged.cases import case  # noqa: E402

SECONDS = 2.0  # of processor time for loading and one forward
MEMORY = 1536  # MiB beyond what a worker has before its first case
PATIENCE = 10.0  # seconds on the clock before a worker is ended
SLOWEST = 8  # rows of the second table


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


def _measured(path: Path, role: str):
    from damaged.trial import tried

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = _status("VmRSS"), time.process_time()
    outcome = tried(path, role)
    return outcome, time.process_time() - start, _status("VmHWM") - before


def work(pipe, seed: int, folder: Path) -> None:
    """A worker: numbers of cases come through the pipe, first their size and then their Result goes back."""
    import logging

    import onnxruntime  # noqa: F401  (what it takes by itself is no case's doing)
    import torch

    logging.disable()
    torch.set_num_threads(1)
    warm(folder)
    while (number := pipe.recv()) is not None:
        chosen = case(number, seed)
        path = folder / chosen.name
        data = chosen.make()
        path.write_bytes(data)
        size = len(data)
        del data
        pipe.send((number, chosen.kind, chosen.name, size))
        _bounded()
        outcome, seconds, memory = _measured(path, chosen.role)
        _unbounded()
        path.unlink()
        result, text = outcome.result, outcome.text
        if seconds > SECONDS:
            result, text = "failed", f"over time; {result}: {text}"
        elif memory > MEMORY:
            result, text = "failed", f"over memory; {result}: {text}"
        pipe.send(Result(number, chosen.kind, chosen.name, size, result, text, seconds, memory))


def warm(folder: Path) -> None:
    """One intact file of every role, so that what is loaded once is not counted."""
    from damaged import trial, whole

    for kind in ("mbf", "scrfd_500m", "genderage"):
        path = folder / "warm.onnx"
        path.write_bytes(whole.graph(kind))
        trial.load_and_run(path, whole.GRAPHS[kind][2])


class Worker:
    """A process, the case that it is busy with, and since when."""

    def __init__(self, seed: int, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.seed, self.folder = seed, folder
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=work, args=(other, seed, folder), daemon=True)
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


def run(numbers: list[int], seed: int, processes: int):
    """Results as they come."""
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(place) for place in range(processes)]
        for folder in folders:
            folder.mkdir()
        workers = [Worker(seed, folder) for folder in folders]
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
                    workers[place] = worker = Worker(seed, worker.folder)
                if waiting:
                    worker.give(waiting.pop())
        for worker in workers:
            worker.pipe.send(None)
            worker.process.join()


def tables(results: list[Result]) -> str:
    """Markdown: counts by kind, then the slowest and the largest cases."""
    by_kind = defaultdict(list)
    for result in results:
        by_kind[result.kind].append(result)
    lines = ["| what was damaged, and how | cases | refused | loaded | failed | slowest, s | most memory, MiB |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for kind, own in [*sorted(by_kind.items()), ("**all**", results)]:
        counts = Counter(result.result for result in own)
        most = f"{max(result.seconds for result in own):.2f}", f"{max(result.memory for result in own):.0f}"
        row = [kind, len(own), *(counts[name] for name in ("refused", "loaded", "failed")), *most]
        lines.append(f"| {' | '.join(map(str, row))} |")
    lines += ["", "| slowest and largest | case | file | s | MiB | outcome |", "|---|---|---|---|---|---|"]
    for what in ("seconds", "memory"):
        chosen = sorted(results, key=lambda result: -getattr(result, what))[:SLOWEST]
        lines += [f"| {what} | {result.number} | {result.name}, {result.size / 1e6:.1f} MB | {result.seconds:.2f} "
                  f"| {result.memory:.0f} | {result.text or result.result} |" for result in chosen]  # fmt: skip
    return "\n".join(lines)


def only(number: int, seed: int) -> None:
    """Write a case's file and load it without any bounds."""
    from damaged.trial import load_and_run

    chosen = case(number, seed)
    folder = ROOT / "out" / "fuzz-encoders"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number} {chosen.name}"
    path.write_bytes(chosen.make())
    print(f"{path}: {chosen.kind}, loaded as {chosen.role}", flush=True)
    load_and_run(path, chosen.role)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="number of a single case to look at, without bounds")
    options = parser.parse_args()
    if options.only is not None:
        return only(options.only, options.seed)
    start, results = time.monotonic(), []
    for result in run(list(range(options.first, options.first + options.cases)), options.seed, options.processes):
        results.append(result)
        if result.result == "failed":
            print(f"FAILED {result.number} {result.kind}, {result.name}: {result.text}", file=sys.stderr, flush=True)
    print(f"{len(results)} cases, seed {options.seed}, {time.monotonic() - start:.0f} s on {options.processes} "
          f"processes\n\n{tables(results)}")  # fmt: skip
    if any(result.result == "failed" for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
