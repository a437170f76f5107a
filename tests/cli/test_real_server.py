"""The commands on a real ComfyUI with Facelets: one prompt, tables, kills, a server that dies, what is missing."""

import json
import random
import signal
import time
from pathlib import Path

import pytest
import requests
from batches import (
    PORTRAIT,
    ROOT,
    address,
    command,
    executions,
    killed_batch,
    problems,
    quick_portrait,
    records,
    seeds_table,
    start_server,
)  # fmt: skip
from cli_cases import run_main
from PIL import Image


def from_photograph(folder: Path, mark: str) -> Path:
    """The portrait with a photograph of the person in place of the drawn one."""
    graph = json.loads(quick_portrait(folder, mark).read_text())
    graph["photo"] = {"class_type": "LoadImage", "inputs": {"image": "x.png"}, "_meta": {"title": "Photograph"}}
    for node in ("7", "8", "11"):
        graph[node]["inputs"]["image"] = ["photo", 0]
    (folder / "photo.json").write_text(json.dumps(graph))
    return folder / "photo.json"


def test_run_and_what_a_server_says_against_it(server, tmp_path, capsys):
    workflow, where = quick_portrait(tmp_path), ("--server", address(server))
    code, found, said = run_main(
        capsys, "run", workflow, *where, "--out", tmp_path / "out", "--set", "Draw somebody.seed=4"
    )
    [file], [score] = found["files"], found["scores"]["16"]["scores"]
    assert code == 0 and found["gate"] == "accepted" and -1 < score < 1
    assert Image.open(file["path"]).size == (128, 128) and file["title"] == "Save the picture"
    assert server.history(found["prompt_id"])["status"]["completed"]
    code, found, said = run_main(
        capsys, "run", workflow, *where, "--set", "12.steps=0", "--set", "12.sampler_name=none"
    )
    assert code == 3 and found is None and set(said.splitlines()) == {  # ComfyUI says them in any order
        "Draw the same person (node 12), input steps: value 0 smaller than min of 1.",
        "Draw the same person (node 12), input sampler_name: value not in list: 'none' not in (list of length "
        f"{len(server.object_info('KSampler')['input']['required']['sampler_name'][0])}).",
    }  # fmt: skip
    code, _, said = run_main(capsys, "run", workflow, *where, "--set", "Draw the same person.sed=1")
    assert code == 2 and "has no input 'sed'; it has: model, seed" in said


def test_batch_of_photographs(server, tmp_path, capsys):
    """A face, no face, no photograph; the gate; the same command again asks for nothing twice."""
    where = ("--server", address(server))
    _, drawn, _ = run_main(
        capsys, "run", quick_portrait(tmp_path), *where, "--set", "12.steps=12", "--out", tmp_path / "faces"
    )
    Path(drawn["files"][0]["path"]).rename(tmp_path / "face.png")
    Image.new("RGB", (128, 128), "grey").save(tmp_path / "grey.png")
    rows = [{"key": key, "Photograph.image": name, "note": key.upper()}
            for key, name in (("face", "face.png"), ("grey", "grey.png"), ("none", "absent.png"))]  # fmt: skip
    rows.append({**rows[0], "key": "strict", "How alike.threshold": 1.0})
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = ("batch", tmp_path / "t.jsonl", from_photograph(tmp_path, ", photographs"), *where, "--threshold", -1)
    code, counts, said = run_main(capsys, *told, "--out", tmp_path / "out")
    face, grey, none, strict = lines = records(tmp_path / "out")
    assert code == 1 and [counts[name] for name in ("rows", "failed", "accepted", "rejected")] == [4, 2, 1, 1]
    assert [line["status"] for line in lines] == ["done", "failed", "failed", "done"]
    assert {name: counts[name] for name in ("accepted", "rejected")} == {"accepted": 1, "rejected": 1}
    assert face["gate"] == "accepted" and face["scores"]["16"]["threshold"] == -1 and face["table"] == {"note": "FACE"}
    assert strict["gate"] == "rejected" and strict["scores"]["16"]["scores"] == face["scores"]["16"]["scores"]
    assert "no face" in grey["error"].lower() and grey["error"].startswith(("The face that is found", "Identity"))
    assert "\n" not in grey["error"] and "absent.png can't be read" in none["error"]
    ran = len(executions([server], ", photographs"))
    assert (
        run_main(capsys, *told, "--out", tmp_path / "out")[:2] == (code, counts) and records(tmp_path / "out") == lines
    )
    assert len(executions([server], ", photographs")) == ran == 3


def test_the_same_table_gives_the_same_bytes(server, tmp_path, capsys):
    told = ("batch", seeds_table(tmp_path, 3), quick_portrait(tmp_path, ", twice"), "--server", address(server))
    for name in ("one", "other"):
        assert run_main(capsys, *told, "--out", tmp_path / name)[1]["accepted"] == 3
    one, other = ([line["files"] for line in records(tmp_path / name)] for name in ("one", "other"))
    assert one == other and len({files[0]["sha256"] for files in one}) == 3
    assert len(executions([server], ", twice")) == 6


def test_two_clients_at_once_and_one_that_is_stopped(server, tmp_path):
    """Each gets its own; a prompt that one takes back, waiting or running, is nothing to the others."""
    mark = ", two clients"
    workflow, where = quick_portrait(tmp_path, mark), ("--server", address(server))
    clients = [command("run", workflow, *where, "--out", tmp_path / f"{seed}", "--set", f"12.seed={seed}", "--set",
                       f"12.steps={steps}") for seed, steps in ((1, 2), (2, 5000), (3, 5000), (4, 2))]  # fmt: skip
    first, *stopped, last = clients
    deadline = time.monotonic() + 60
    while len(mine(server, mark)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    for client in stopped:
        client.send_signal(signal.SIGINT)
    assert all(client.communicate(timeout=120)[1].endswith("Stopped.\n") for client in stopped)
    found = [json.loads(client.communicate(timeout=120)[0]) for client in (first, last)]
    assert [client.returncode for client in clients] == [0, 130, 130, 0]
    for seed, one in zip((1, 4), found, strict=True):
        text = json.loads(Image.open(one["files"][0]["path"]).info["prompt"])
        assert text["12"]["inputs"]["seed"] == seed and server.history(one["prompt_id"])["status"]["completed"]
    assert [seed for seed, _, completed in executions([server], mark) if completed] == [1, 4]


def mine(server, mark):
    """The ids of a batch's prompts that a server has, waiting, running or finished."""
    queue = requests.get(f"{address(server)}/queue", timeout=60).json()
    entries = [*queue["queue_running"], *queue["queue_pending"]]
    return {entry[1] for entry in entries if mark in json.dumps(entry[2])} | {
        prompt_id for _, prompt_id, _ in executions([server], mark)
    }


def test_killed_at_random_moments(server, tmp_path):
    """`make kill` does more of it."""
    chance = random.Random()
    killed, _, wrong = killed_batch(tmp_path / "batch", [server], rows=10, chance=chance, kills=5, longest=1.0)
    assert killed and wrong == []  # how many moments come before the end is for the machine to say


def test_two_servers_of_which_one_dies(server, tmp_path):
    """Its row is in the middle of sampling then, and is done by the other one."""
    mark = ", one dies"
    told = ["batch", seeds_table(tmp_path, 8), quick_portrait(tmp_path, mark, steps=12), "--out", tmp_path / "out"]
    with start_server(tmp_path / "second") as second:
        process = command(*told, "--patience", 2, "--server", address(second), "--server", address(server))
        manifest, deadline = tmp_path / "out/manifest.jsonl", time.monotonic() + 120
        while not (manifest.exists() and address(second) in manifest.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = {prompt_id for _, prompt_id, _ in executions([second], mark)}
        second._process.kill()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and said.count(f"{address(second)} does not answer") == 1
    lines = records(tmp_path / "out")
    by = [line["server"] for line in lines]
    assert 1 <= by.count(address(second)) <= len(ended) + 1 and by.count(address(server)) == 8 - by.count(
        address(second)
    )
    assert [
        found
        for found in problems(tmp_path / "out", 8, [server], mark)
        if "prompts" not in found and "ran" not in found
    ] == []
    assert len(executions([server], mark)) == by.count(address(server))


def test_check_says_what_is_missing_and_where_it_goes(server, tmp_path, capsys):
    code, found, said = run_main(capsys, "check", PORTRAIT, "--server", address(server))
    assert code == 0 and found["missing"] == [] and found["models"] == [] and set(found["nodes"].values()) == {True}
    example = ROOT / "workflows/api/pulid_sdxl.json"
    graph = json.loads(example.read_text())
    graph["99"] = {"class_type": "NoSuchNode", "inputs": {}}
    (tmp_path / "w.json").write_text(json.dumps(graph))
    told = ("check", tmp_path / "w.json", "--page", ROOT / "workflows/pulid_sdxl.json")
    code, found, said = run_main(capsys, *told, "--server", address(server))
    assert code == 1 and found["missing"] == said.splitlines() and found["nodes"]["NoSuchNode"] is False
    assert [model["folder"] for model in found["models"]] == [
        "models/checkpoints", "models/insightface/models/antelopev2", "models/pulid", "models/clip_vision"]  # fmt: skip
    assert all(model["there"] is False for model in found["models"]) and found["inputs"][0]["there"] is False
    assert said.splitlines()[:2] == [
        "The server has no node class NoSuchNode; install the pack that brings it.",
        "sd_xl_base_1.0.safetensors is missing, for SDXL checkpoint (node 1); put it into models/checkpoints, from "
        "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors.",
    ]
    code, offline, said = run_main(capsys, *told)
    assert (
        code == 0
        and said == ""
        and [model["name"] for model in offline["models"]] == [m["name"] for m in found["models"]]
    )
    Image.new("RGB", (8, 8)).save(server.base / "input/person.jpg")
    code, found, _ = run_main(capsys, "check", example, "--server", address(server))
    assert found["inputs"][0]["there"] is True and len(found["missing"]) == 4


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "workflows/api").glob("*.json")))
def test_check_knows_where_every_file_of_the_examples_goes(name, capsys):
    code, found, said = run_main(capsys, "check", ROOT / f"workflows/api/{name}.json")
    assert code == 0 and said == "" and all(need["folder"] for need in (*found["models"], *found["inputs"]))
    assert bool(found["models"]) != name.startswith("facelets")
