"""The command line's batches on real ComfyUI servers: what kills at random moments leave, and how fast they are.

    python benchmarks/batches.py kill [--kills 24] [--server-kills 8] [--seed 1]
    python benchmarks/batches.py speed [--rows 24] [--rounds 3] [--ray-python PATH]

Everything runs on Facelets and on this machine. `--ray-python` is a Python with ray, requests and websocket-client.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from comfy_server import ComfyServer, find_comfyui, prepare_base_directory  # noqa: E402

PORTRAIT = ROOT / "workflows/api/facelets_portrait.json"
SEED, PROMPT = ("12", "seed"), ("9", "text")  # what rows and batches differ in
PER_BATCH = 4  # kills of one batch, at most


def start_server(base: Path) -> ComfyServer:
    """A ComfyUI that is to be entered, with this pack alone."""
    return ComfyServer(prepare_base_directory(base, {"likeness": ROOT}), find_comfyui())


def address(server: ComfyServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def command(*arguments, python: str = sys.executable) -> subprocess.Popen:
    """The command line as a process of its own."""
    told = [python, "-m", "cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(told, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def quick_portrait(folder: Path, mark: str = "", steps: int = 2) -> Path:
    """The shipped portrait in few steps; `mark` goes into its prompt, so that its pictures are nobody else's."""
    graph = json.loads(PORTRAIT.read_text())
    graph["5"]["inputs"]["steps"], graph["12"]["inputs"]["steps"] = 8, steps
    graph["9"]["inputs"]["text"] += mark
    path = folder / "portrait.json"
    path.write_text(json.dumps(graph))
    return path


def seeds_table(folder: Path, rows: int) -> Path:
    """A table whose rows differ in the seed, 0 up."""
    path = folder / "seeds.csv"
    path.write_text("key,Draw the same person.seed\n" + "".join(f"row{seed:02},{seed}\n" for seed in range(rows)))
    return path


def records(out: Path) -> list[dict]:
    """The manifest's lines."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def executions(servers: list[ComfyServer], mark: str) -> list[tuple]:
    """(seed, prompt id, completed) of every prompt with this mark that any of the servers ran, sorted."""
    found = []
    for server in servers:
        for prompt_id, entry in requests.get(f"{address(server)}/history", timeout=60).json().items():
            graph = entry["prompt"][2]
            if mark in json.dumps(graph):  # others may ask the server for something else
                found.append((graph[SEED[0]]["inputs"][SEED[1]], prompt_id, entry["status"]["completed"]))
    return sorted(found)


def problems(out: Path, rows: int, servers: list[ComfyServer], mark: str) -> list[str]:
    """What is wrong with a finished batch: as in `left_wrong`, and rows that any of the servers did twice."""
    ran, found = executions(servers, mark), left_wrong(out, rows)
    if [seed for seed, _, _ in ran] != list(range(rows)):
        found.append(f"the servers ran the seeds {[seed for seed, _, _ in ran]}")
    if {line["prompt_id"] for line in records(out)} != {prompt_id for _, prompt_id, _ in ran}:
        found.append("the manifest's prompts are others than those that ran")
    return found


def left_wrong(out: Path, rows: int) -> list[str]:
    """What is wrong with what a finished batch left: rows lost or doubled, files that are not what the line says."""
    lines, found = records(out), []
    if [line["row"] for line in lines] != [f"row{seed:02}" for seed in range(rows)]:
        found.append(f"the manifest's rows are {[line['row'] for line in lines]}")
    for line in lines:
        for file in line["files"]:
            if hashlib.sha256((out / file["path"]).read_bytes()).hexdigest() != file["sha256"]:
                found.append(f"{file['path']} is not what the manifest says")
        if line["status"] != "done" or len(line["files"]) != 1:
            found.append(f"{line['row']} is {line['status']} with {len(line['files'])} files: {line['error']}")
    named = {"manifest.jsonl", ".lock"} | {file["path"] for line in lines for file in line["files"]}
    spare = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - named
    return found + ([f"files that nobody names: {sorted(spare)}"] if spare else [])


def noted(path: Path) -> set:
    """The prompts in a file's whole lines."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return {json.loads(line)["prompt_id"] for line in lines}


def killed_batch(
    folder: Path, servers: list[ComfyServer], rows: int, chance: random.Random, kills: int, longest: float = 3.0
) -> tuple:
    """One batch that is killed up to `kills` times, after 0.2 s to `longest` seconds each, and then let finish.

    Returns how often it was killed, how often while servers had prompts of it, and what is wrong at the end.
    """
    mark = f", batch {chance.getrandbits(32):x}"
    folder.mkdir()
    told = ["batch", seeds_table(folder, rows), quick_portrait(folder, mark), "--out", folder / "out"]
    for server in servers:
        told += ["--server", address(server)]
    done = open_prompts = 0
    while done < kills:
        process = command(*told)
        try:
            process.communicate(timeout=chance.uniform(0.2, longest))
            break  # it was faster
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            open_prompts += bool(noted(folder / "out/queued.jsonl") - noted(folder / "out/manifest.jsonl"))
    process = command(*told)
    _, said = process.communicate(timeout=300)
    if process.returncode:
        return done, open_prompts, [f"exit code {process.returncode}: {said}"]
    return done, open_prompts, problems(folder / "out", rows, servers, mark)


def batch_with_killed_server(folder: Path, one: ComfyServer, two: ComfyServer, rows: int, after: float) -> list[str]:
    """One batch on two servers, the second killed after some seconds; returns what is wrong at the end.

    A row that the dead one was at is drawn again, so what servers ran is not counted.
    """
    folder.mkdir()
    told = ["batch", seeds_table(folder, rows), quick_portrait(folder, f", batch {folder.name}", steps=10)]
    process = command(*told, "--out", folder / "out", "--server", address(one), "--server", address(two))
    time.sleep(after)
    early = process.poll() is not None
    os.kill(two.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    if early:
        return ["it was done before the server was killed"]
    return [f"exit code {process.returncode}: {said}"] if process.returncode else left_wrong(folder / "out", rows)


def kill_servers(kills: int, seed: int, rows: int = 8) -> int:
    """Kill one of two servers in the middle of batches, at random moments; returns how much went wrong."""
    chance, wrong = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as base, start_server(Path(base, "1")) as one:
        for number in range(kills):
            after = chance.uniform(1.0, 6.0)
            with start_server(Path(base, "2")) as two:
                found = batch_with_killed_server(Path(base, f"batch {number}"), one, two, rows, after)
            wrong += len(found)
            print(f"a server killed after {after:.1f} s: {found or 'nothing wrong'}", flush=True)
    return wrong


def kill(kills: int, seed: int, rows: int = 8) -> int:
    """Kill batches on one and on two servers; returns how much was lost, doubled or damaged."""
    chance, wrong = random.Random(seed), 0
    with (
        tempfile.TemporaryDirectory() as base,
        start_server(Path(base, "1")) as one,
        start_server(Path(base, "2")) as two,
    ):
        for servers, share in (([one], kills - kills // 2), ([one, two], kills // 2)):
            total = caught = batches = 0
            while total < share:
                done, with_prompts, found = killed_batch(
                    Path(base, f"{len(servers)}-{batches}"), servers, rows, chance, min(PER_BATCH, share - total)
                )
                total, caught, batches = total + done, caught + with_prompts, batches + 1
                wrong += len(found)
                print(
                    f"{len(servers)} server(s), batch {batches}: killed {done} times; {found or 'nothing wrong'}",
                    flush=True,
                )
            print(f"{len(servers)} server(s): {total} kills in {batches} batches, {caught} with prompts at servers")
    return wrong


def timed_batch(folder: Path, table: Path, workflow: Path, servers: list[ComfyServer], *more, python=sys.executable):
    """Seconds that a batch takes, the client's start included, and its manifest: scores, the SHA-256 of the pictures,
    everything but which server drew a row under which id, and how long it took."""
    told = ["batch", table, workflow, "--out", folder, *more]
    for server in servers:
        told += ["--server", address(server)]
    start = time.perf_counter()
    process = command(*told, python=python)
    _, said = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(said)
    apart = ("server", "prompt_id", "seconds")
    return seconds, [{key: value for key, value in line.items() if key not in apart} for line in records(folder)]


def speed(rows: int, rounds: int, ray_python: str | None):
    """Print what one server, two, and Ray's tasks make of the same table, and whether the manifests are the same.

    The conditions take turns, each in every round, so that other work on the machine slows them all.
    """
    with (
        tempfile.TemporaryDirectory() as base,
        start_server(Path(base, "1")) as one,
        start_server(Path(base, "2")) as two,
    ):
        folder = Path(base, "table")
        folder.mkdir()
        table, workflow = seeds_table(folder, rows), quick_portrait(folder, steps=10)
        cases = {"one server": ([one], ()), "one server, one prompt at a time": ([one], ("--ahead", 1)),
                 "two servers": ([one, two], ())}  # fmt: skip
        if ray_python:
            cases["two servers, --engine ray"] = [one, two], ("--engine", "ray")
        for server in (one, two):  # what is loaded and cached once
            timed_batch(Path(base, f"warm{server.port}"), table, workflow, [server])
        taken, manifests = {words: [] for words in cases}, []
        for number in range(rounds):
            for words, (servers, more) in cases.items():
                python = ray_python if "ray" in more else sys.executable
                out = Path(base, f"{number} {words}")
                seconds, manifest = timed_batch(out, table, workflow, servers, *more, python=python)
                taken[words].append(seconds)
                manifests.append(manifest)
            print(f"round {number + 1}: {', '.join(f'{times[-1]:.1f}' for times in taken.values())} s", flush=True)
        for words, times in taken.items():
            ratios = sorted(first / seconds for first, seconds in zip(taken["one server"], times, strict=True))
            print(f"{words}: {rows} rows in {statistics.median(times):.1f} s, {statistics.median(ratios):.2f} x "
                  f"({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip
        same = all(manifest == manifests[0] for manifest in manifests)
        print("all manifests the same" if same else "OTHER MANIFESTS")
        print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    sys.exit(not same)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kill", "speed"))
    parser.add_argument("--kills", type=int, default=24, help="of the command")
    parser.add_argument("--server-kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray-python")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if given.what == "kill":
        wrong = kill(given.kills, given.seed) if given.kills else 0
        sys.exit(wrong + kill_servers(given.server_kills, given.seed) > 0)
    else:
        speed(given.rows, given.rounds, given.ray_python)


if __name__ == "__main__":
    main()
