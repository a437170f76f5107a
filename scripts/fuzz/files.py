"""Load thousands of damaged and hostile files, each in a bounded process, and print what became of them.

    make fuzz-encoders                              # 2,000 face encoders
    make fuzz-files                                 # 5,000 files for every other reader
    make fuzz-files ARGS="--cases 200 --seed 1"
    make fuzz-files ARGS="--only 1234"              # one case, with its file left in out/fuzz

Every case must end in something that works or in a refusal of one sentence, within 4 s of processor time and 1.5 GiB of
memory. Anything else is a failure, and the exit code says so.
"""

import argparse
import importlib
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts, in every worker

import alone  # noqa: E402, F401  (loads the pack)

from fuzz.pool import Result, run  # noqa: E402

SOURCES = {"encoders": ("damaged.cases", 2000), "readers": ("damaged.readers", 5000)}
SLOWEST = 8  # rows of the second table


def tables(results: list[Result], readers: bool) -> str:
    """Markdown: counts by kind (`readers`: by what reads them), then the slowest and the largest cases."""
    by_kind = defaultdict(list)
    for result in results:
        by_kind[result.kind.partition(":")[0] if readers else result.kind].append(result)
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


def only(source: str, number: int, seed: int) -> None:
    """Write a case's file and load it without any bounds."""
    cases = importlib.import_module(source)
    chosen = cases.case(number, seed)
    folder = ROOT / "out" / "fuzz" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / chosen.name
    path.write_bytes(chosen.make())
    print(f"{path}: {chosen.kind}, loaded as {chosen.role}", flush=True)
    print(cases.tried(path, chosen.role))
    cases.load_and_run(path, chosen.role)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SOURCES)
    parser.add_argument("--cases", type=int, help="how many; 2,000 encoders, 5,000 for the other readers")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", type=int, help="number of a single case to look at, without bounds")
    options = parser.parse_args()
    source, cases = SOURCES[options.what]
    if options.only is not None:
        return only(source, options.only, options.seed)
    numbers = list(range(options.first, options.first + (options.cases or cases)))
    start, results = time.monotonic(), []
    for result in run(source, numbers, options.seed, options.processes):
        results.append(result)
        if result.result == "failed":
            print(f"FAILED {result.number} {result.kind}, {result.name}: {result.text}", file=sys.stderr, flush=True)
    spent = f"{time.monotonic() - start:.0f} s on {options.processes} processes"
    print(f"{len(results)} cases, seed {options.seed}, {spent}\n\n{tables(results, options.what == 'readers')}")
    if any(result.result == "failed" for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
