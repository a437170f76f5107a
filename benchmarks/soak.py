"""Hundreds of prompts on one ComfyUI server: the same bytes every time, no memory lost, nothing new in its log.

    python benchmarks/soak.py [--prompts 500] [--seed 1]

Good prompts come in an order drawn by lot, never one twice in a row, so that ComfyUI's cache has the models and nothing
else of them; every tenth prompt is a bad one; every fiftieth is followed by /free, in short runs every fifth part of
them. At the end a second, fresh server draws every good one once.
"""

import argparse
import hashlib
import io
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import requests
import soak_prompts
from batches import ROOT, address
from comfy_server import ComfyError, ComfyServer, find_comfyui, prepare_base_directory
from PIL import Image

sys.path.insert(0, str(ROOT / "tests"))
import photographs

BAD_EVERY, FREE_EVERY = 10, 50
WARM = 2 * FREE_EVERY  # prompts: what is made once is made by then
# More of Held's values after 100 prompts than this is a leak; to the eye they vary by 50 objects and 200 blocks.
MOST = {"tensors": 1, "objects": 75, "blocks": 2000, "allocated": 2**18}
QUIET_AFTER = 10  # prompts: what is said once may be said by then
MB = 2**20
_TROUBLE = re.compile(r"warn|error|exception|traceback|deprecat|fail|likeness:", re.IGNORECASE)
_WARNED = re.compile(r"\b\w*Warning\b")
_REPORT = "!!! Exception during processing !!!"
_ENDED = "Prompt executed in"


def results(server, entry: dict) -> dict[str, bytes]:
    """What a finished prompt showed and saved: "node kind number" -> the bytes of the file, or the JSON."""
    found = {}
    for node, shown in entry["outputs"].items():
        for kind, values in shown.items():
            for number, value in enumerate(values if isinstance(values, list) else [values]):
                if isinstance(value, dict) and "filename" in value:
                    content = server.view(value["filename"], value["subfolder"], value["type"])
                elif kind == "text" and str(value).endswith(".safetensors"):
                    continue  # the name of a saved file, which counts up
                else:
                    content = json.dumps(value, sort_keys=True).encode()
                found[f"{node} {kind} {number}"] = content
    return found


def digests(found: dict[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each result."""
    return {key: hashlib.sha256(content).hexdigest() for key, content in found.items()}


def pixels(found: dict[str, bytes]) -> dict[str, str]:
    """The same, of pictures' pixels only: ComfyUI writes into a picture when the files were made that it was made with,
    and those of two servers were made at different times."""
    plain = {}
    for key, content in found.items():
        is_picture = content[:4] == b"\x89PNG"
        plain[key] = np.asarray(Image.open(io.BytesIO(content))).tobytes() if is_picture else content
    return digests(plain)


class Log:
    """The server's log, read on from where it was read last."""

    def __init__(self, path: Path):
        self._path, self._place = path, 0
        self.read()

    def read(self, until: str | None = None) -> list[str]:
        """New lines; waits for one with `until`, which ComfyUI may write after it says that a prompt is done."""
        text, deadline = self._more(), time.monotonic() + 10
        while until is not None and until not in text and time.monotonic() < deadline:
            time.sleep(0.01)
            text += self._more()
        return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    def _more(self):
        with open(self._path, "rb") as file:
            file.seek(self._place)
            content = file.read()
        self._place += len(content)
        return content.decode(errors="replace")


@dataclass(frozen=True)
class Held:
    """What soak_probe says that the server holds after /free; `history` is looked at before it is forgotten."""

    tensors: int
    objects: int
    blocks: int
    resident: int
    allocated: int
    history: int


class Soak:
    """One server, its prompts, and everything that is noticed about them in `wrong`."""

    def __init__(self, server, good: dict, bad: dict):
        self.server, self.good, self.bad = server, good, bad
        self.log, self.process = Log(server.log_path), psutil.Process(server.pid)
        self.first, self.pixels, self.wrong, self.ran = {}, {}, [], Counter()
        self.memory, self.freed = [], []  # (prompts so far, bytes) while it works; (..., Held) after each /free
        self.count, self.cpu = 0, 0.0  # prompts so far; seconds, once it is done

    def draw(self, name: str):
        """Run a good prompt; its bytes must be those of the first time."""
        try:
            entry = self.server.wait(self.server.queue(self.good[name]))
        except ComfyError as error:
            self.wrong.append(f"prompt {self.count + 1}, {name}: {str(error).splitlines()[0]}")
            return self._ended(name, [])
        found = results(self.server, entry)
        self.pixels.setdefault(name, pixels(found))
        self._compare(name, digests(found))
        cached = {one for event, data in entry["status"]["messages"] if event == "execution_cached"
                  for one in data["nodes"]}  # fmt: skip
        samplers = {key for key, node in self.good[name].items() if node["class_type"] == "KSampler"}
        self.ran["samplers"] += len(samplers - cached)
        self.ran["samplers from the cache"] += len(samplers & cached)
        self._ended(name, [line for line in self.log.read(_ENDED) if _TROUBLE.search(line)])

    def draw_as(self, name: str, expected: dict):
        """Run a good prompt on a server that has run nothing else yet; its pixels must be these."""
        found = pixels(results(self.server, self.server.wait(self.server.queue(self.good[name]))))
        self.first[name] = expected
        self._compare(name, found)
        self._ended(name, [])

    def _compare(self, name, found):
        first = self.first.setdefault(name, found)
        if found != first:
            parts = sorted(key for key in found.keys() | first.keys() if found.get(key) != first.get(key))
            self.wrong.append(f"prompt {self.count + 1}, {name}: other bytes than at first: {', '.join(parts)}")

    def fail(self, name: str):
        """Run a bad prompt; it must end as it should, with the same sentence every time."""
        bad = self.bad[name]
        how, said = self._failure(bad)
        if (how, said) != self.first.setdefault(name, (how, said)) or how != bad.ends or bad.words not in said:
            self.wrong.append(f"prompt {self.count + 1}, {name}: {how} with {said[:300]!r}")
        lines = self.log.read(None if how == "refused" else _ENDED)
        reported = sum(_REPORT in line for line in lines) == (how == "failed")
        self._ended(name, [line for line in lines if _WARNED.search(line)] if reported else lines)

    def _failure(self, bad):
        def stop(node, value, most):
            if bad.ends == "interrupted" and node == "12" and value == 2:
                self.server.interrupt()

        try:
            prompt_id = self.server.queue(bad.graph)
        except ComfyError as error:
            return "refused", str(error)
        try:
            self.server.wait(prompt_id, stop)
        except ComfyError as error:
            said = str(error).splitlines()[0]
            return "interrupted" if said.startswith("Interrupted") else "failed", said
        return "done", ""

    def _ended(self, name, strange):
        self.count += 1
        self.ran[name] += 1
        if strange and self.count > QUIET_AFTER:
            self.wrong.append(f"prompt {self.count}, {name}: the log says {strange[:3]}")
        self.memory.append((self.count, self.process.memory_info().rss))

    def free(self):
        """/free, and what is held once ComfyUI has done it and forgot its history of the prompts.

        It is done when two looks a second apart see the same. It is asked for before each look, for ComfyUI 0.3.75 may
        sleep over a /free that comes just as a prompt ends.
        """
        seen = None
        for _ in range(10):
            self.server.free()
            time.sleep(1)
            held = self._held()
            if seen is not None and seen.tensors == held.tensors and abs(seen.resident - held.resident) < MB:
                break
            seen = held
        requests.post(f"{address(self.server)}/history", json={"clear": True}, timeout=60).raise_for_status()
        self.freed.append((self.count, replace(self._held(), history=held.history)))
        self.log.read()

    def _held(self):
        return Held(**requests.get(f"{address(self.server)}/soak/held", timeout=60).json())


def slope(points: list, kind: str) -> float:
    """By how much one of Held's values grows in 100 prompts, by [(prompts, Held)]; least squares."""
    prompts, values = zip(*((prompts, getattr(held, kind)) for prompts, held in points), strict=True)
    return 100 * np.polyfit(prompts, values, 1)[0]


def grown(freed: list) -> list[str]:
    """What there is more of after each /free, by [(prompts, Held)], once what is made once is made, if there are enough
    to tell."""
    warm = [point for point in freed if point[0] >= WARM]
    slopes = {kind: slope(warm, kind) for kind in MOST} if len(warm) > 4 else {}
    return [f"after /free, {more:+.0f} {kind} per 100 prompts, where {MOST[kind]} are allowed"
            for kind, more in slopes.items() if more > MOST[kind]]  # fmt: skip


def order(names: list[str], chance: random.Random):
    """Names without end, in rounds in which each comes once, or as often as it is in the list; none twice in a row."""
    last = None
    while True:
        mixed = chance.sample(names, len(names))
        while any(one == other for one, other in zip([last, *mixed], mixed, strict=False)):
            mixed = chance.sample(names, len(names))
        yield from mixed
        last = mixed[-1]


def prepared(folder: Path) -> ComfyServer:
    """A server that is to be entered, with what the prompts read in its folders."""
    packs = {"likeness": ROOT, "soak_probe": ROOT / "benchmarks/soak_probe"}
    base = prepare_base_directory(folder, packs)
    seen = next(face for face in photographs.people()["t1"]["faces"] if face["person"] == "A")
    soak_prompts.prepare(base, photographs.photographs()["t1"], seen["box"])
    return ComfyServer(base, find_comfyui())


def saved_person(server) -> tuple[str, bytes]:
    """Save a person for LoadIdentity; the combo value and the file's bytes."""
    [file] = server.wait(server.queue(soak_prompts.saving()))["outputs"]["saved"]["identities"]
    return f"{file['filename']} [output]", server.view(**file)


def soak(prompts: int, seed: int) -> list[str]:
    """Run it and print what was measured; returns what is wrong."""
    chance, start = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory() as base:
        with prepared(Path(base, "1")) as server:
            saved = saved_person(server)
            one = Soak(server, soak_prompts.good(saved[0]), soak_prompts.bad())
            often = [name for name in one.good if name not in soak_prompts.DEAR]
            goods, bads = order([*one.good, *often, *often], chance), order(list(one.bad), chance)
            every = max(1, min(FREE_EVERY, prompts // 5))
            for number in range(1, prompts + 1):
                one.fail(next(bads)) if number % BAD_EVERY == 0 else one.draw(next(goods))
                if number % every == 0 or number == prompts:
                    one.free()
                    print(_line(one, start), flush=True)
            one.cpu = sum(one.process.cpu_times()[:2])
        with prepared(Path(base, "2")) as server:
            again = saved_person(server)
            fresh = Soak(server, soak_prompts.good(again[0]), {})
            for name in sorted(one.pixels, reverse=True):
                fresh.draw_as(name, one.pixels[name])
    _report(one, fresh, time.monotonic() - start, warm_up=2 * every)
    different = [] if again == saved else ["a fresh server saves another person"]
    return one.wrong + grown(one.freed) + different + [f"on a fresh server, {words}" for words in fresh.wrong]


def _line(one, start):
    _, held = one.freed[-1]
    return (f"{one.count} prompts in {time.monotonic() - start:.0f} s: {one.memory[-1][1] / MB:.0f} MB resident, "
            f"after /free {held.resident / MB:.1f} MB, {held.tensors} tensors, {held.objects} objects, "
            f"{held.blocks} Python blocks, {held.allocated / MB:.2f} MB of the C library's; "
            f"{len(one.wrong)} wrong")  # fmt: skip


def _report(one, fresh, seconds, warm_up):
    bad = sum(one.ran[name] for name in one.bad)
    least = min(one.ran[name] for name in one.good)
    warm = [point for point in one.memory if point[0] > warm_up]
    freed = [point for point in one.freed if point[0] >= warm_up]
    print(f"{one.count} prompts in {seconds / 60:.1f} minutes, {bad} of them bad in {len(one.bad)} ways; the good ones "
          f"of {len(one.good)} kinds, each drawn {least} times or more")  # fmt: skip
    print(f"samplers that ran: {one.ran['samplers']}, from the cache: {one.ran['samplers from the cache']}")
    print(f"on a fresh server: {sum(fresh.ran.values())} prompts, {len(fresh.wrong)} with other pixels or reports")
    if len(freed) > 2:
        too_few = "" if one.count >= 3 * WARM else ", which so few prompts say nothing about"
        working = 100 * np.polyfit(*zip(*warm, strict=True), 1)[0]
        print(f"resident while it works, from prompt {warm[0][0]} on: {working / MB:+.2f} MB per 100 prompts, "
              f"{max(point[1] for point in warm) / MB:.0f} MB at most{too_few}")  # fmt: skip
        print(f"after /free, from prompt {freed[0][0]} on, per 100 prompts: resident "
              f"{slope(freed, 'resident') / MB:+.2f} MB, {slope(freed, 'tensors'):+.1f} tensors, "
              f"{slope(freed, 'objects'):+.0f} objects, {slope(freed, 'blocks'):+.0f} Python blocks, "
              f"{slope(freed, 'allocated') / MB:+.3f} MB of the C library's")  # fmt: skip
    history = sum(held.history for _, held in one.freed) / MB
    print(f"ComfyUI's history, forgotten with each /free: {100 * history / one.count:.2f} MB per 100 prompts")
    print(f"CPU time of the server: {one.cpu / 60:.1f} minutes")
    print(f"load of the machine over the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    wrong = soak(given.prompts, given.seed)
    print("\n".join(wrong) or "nothing wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
