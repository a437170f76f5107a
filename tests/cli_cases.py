"""What the command line's tests share."""

import json
import os
import subprocess
import sys
from pathlib import Path

from comfy_process import ComfyServer, comfy_server, find_comfyui
from likeness.cli.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = ROOT / "workflows/api/facelets_portrait.json"


def start_server(base: Path) -> ComfyServer:
    """A ComfyUI that is to be entered, with this pack alone."""
    return ComfyServer(comfy_server.prepare_base_directory(base, {"likeness": ROOT}), find_comfyui())


def address(server: ComfyServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def command(*arguments) -> subprocess.Popen:
    """The command line as a process of its own."""
    told = [sys.executable, "-m", "cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(told, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_main(capsys, *arguments) -> tuple[int, dict | list | None, str]:
    """One command in this process: its exit code, what it printed, and its sentences."""
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def records(out: Path) -> list[dict]:
    """The manifest's lines."""
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def quick_portrait(folder: Path, mark: str = "") -> Path:
    """The shipped portrait in few steps; `mark` goes into its prompt, so that its pictures are nobody else's."""
    graph = json.loads(PORTRAIT.read_text())
    graph["5"]["inputs"]["steps"], graph["12"]["inputs"]["steps"] = 8, 2
    graph["9"]["inputs"]["text"] += mark
    path = folder / "portrait.json"
    path.write_text(json.dumps(graph))
    return path


def executions(servers: list[ComfyServer], mark: str) -> list[tuple]:
    """(row's seed, prompt id, completed) of every prompt with this mark that any of the servers ran."""
    found = []
    for server in servers:
        for prompt_id, entry in server.histories().items():
            graph = entry["prompt"][2]
            if mark in graph["9"]["inputs"]["text"]:
                found.append((graph["12"]["inputs"]["seed"], prompt_id, entry["status"]["completed"]))
    return sorted(found)
