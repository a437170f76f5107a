"""`make commands`: every command that a document names, in its smallest setting.

    make commands
    make commands ARGS="soak 'cli run'"    # those with one of these texts in them

tests/tools/test_commands.py holds the list to the documents. What a command prints goes to out/commands; of one that
fails the last lines are shown, and the others go on.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from comfy_server import ComfyServer, find_comfyui, prepare_base_directory
from facelets.world import draw, sample_identity, sample_look, sample_pose
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))
from tiny.towers import write_towers  # noqa: E402

LOGS = ROOT / "out/commands"
LAST = 20  # lines of one that failed
PATIENCE = 1200  # seconds
AT_ONCE = 2

# A command a line. In these: {out} is a folder that is thrown away, {server} and {second} are addresses of one ComfyUI
# with the pack, {comfyui} is a ComfyUI's folder, {table} a table of two rows, {people} a folder with two drawn
# portraits, {clip} a CLIP model with random weights.
# First, one after the other, what writes files that the others read.
ALONE = (
    "make setup-test",
    "make setup-browser",
    "pip install --quiet -r cli/requirements.txt",
    "python scripts/convert_embedded.py build/face-api/package",
    "python scripts/ui_workflow.py facelets_portrait",
    "make help-pages",
)
# Then, two at a time, the longest first.
TOGETHER = (
    'make bench-cure ARGS="--only inversion price --pictures 1 --steps 2 --repeats 1 --sd-steps 1 --sd-cells 8 '
    '--out {out}"',
    'make facelets ARGS="--trial"',
    'make compositions ARGS="--short --only identity"',
    'make test-browser ARGS="-k test_a_mere_click_is_no_pose"',
    'make kill ARGS="--kills 2 --server-kills 1"',
    'make soak ARGS="--prompts 12"',
    'make screenshots ARGS="face_picker pose_editor_classic --out {out}"',
    'make bench-batch ARGS="--rows 2 --rounds 1"',
    'make bench-identity ARGS="--cured --identities 2 --prompts 1 --phrases 1 --steps 2 --out {out}"',
    'make bench-identity ARGS="--cured --tune --first 16 --conditions base adapter-0.3+control adapter-0.8+control '
    'cure-1.0 cure-abstract_pass-0.5 --identities 1 --prompts 1 --phrases 1 --steps 2 --out {out}"',
    'make bench-identity ARGS="--cured --tune --architecture flux --conditions base adapter-0.8+control cure-1.0 '
    '--cfg 1 --identities 1 --prompts 1 --phrases 1 --steps 2 --out {out}"',
    'make bench-identity ARGS="--record --identities 2 --prompts 1 --steps 2 --out {out}"',
    'make bench-models ARGS="--server {server} --workflow workflows/api/facelets_portrait.json --references {people} '
    "--encoder workflow --clip {clip} --first 1 --steps 2 --seeds 1 --prompts benchmarks/freecure_prompts.txt "
    "--picture 14 --conditions foundation adapter weight-0.5 start-0.4 cure-1 freecure shared_attention --retry-failed "
    '--out {out}"',
    "make demo",
    'make installed ARGS="--starts 1"',
    'make fuzz ARGS="--cases 5 --seed 1"',
    'make bench-layouts ARGS="--only masterweaver --latent 8"',
    'make bench-found ARGS="plain --photograph t1"',
    'make bench-faces ARGS="--quick"',
    'make bench-pairs ARGS="--photograph sample1 sample3"',
    'make verify-facelets ARGS="--pictures 16"',
    'make bench-cure ARGS="--only masks --people 1 --prompts 1 --steps 2 --out {out}"',
    'make help-pictures ARGS="DetectFaces LandmarkControl --out {out}"',
    'make thumbnails ARGS="facelets_portrait --out {out}"',
    "make bench-overhead",
    "pytest -s tests/parity -k test_velocity_prediction_on_sd_s_schedule",
    'python -m cli run workflows/api/facelets_portrait.json --server {server} --set "Draw the same person.seed=7" '
    "--out {out}",
    "python -m cli batch {table} workflows/api/facelets_portrait.json --out {out} --server {server} --server {second}",
    "python -m cli check workflows/api/facelets_portrait.json --server {server}",
    "python -m cli models --comfyui {comfyui}",
    "make lint",
)
# What documents name and no run here can show, and why.
LEFT_OUT = {
    "make test": "continuous integration runs it by itself",
    "make test-tools": "continuous integration runs it by itself",
    "make commands": "this is it",
    "make bench-batch --ray-python": "Ray is no part of the development set-up",
}


class Ran(NamedTuple):
    """One command: what failed is told by its log. Seconds on the clock, and of processors."""

    command: str
    good: bool
    seconds: float
    worked: float
    log: Path


def run(command: str, places: dict, number: int) -> Ran:
    """Run one command to its end."""
    log = LOGS / f"{number:02} {re.sub(r'[^a-z-]+', ' ', command.lower())[:40].strip()}.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}"}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="likeness-command-") as out, open(log, "w") as said:
        words = command.format(out=out, **places)
        process = subprocess.Popen(words, shell=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        ender = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        ender.start()
        _, status, usage = os.wait4(process.pid, 0)  # with the processors' seconds, its children's included
        ender.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    return Ran(command, status == 0, time.monotonic() - start, usage.ru_utime + usage.ru_stime, log)


def report(ran: Ran):
    print(
        f"{ran.seconds:6.1f} s {ran.worked:6.1f} s CPU  {'OK    ' if ran.good else 'FAILED'}  {ran.command}", flush=True
    )
    if not ran.good:
        lines = ran.log.read_text(errors="replace").splitlines()[-LAST:]
        print(*(f"        | {line}" for line in lines), sep="\n", flush=True)


@contextlib.contextmanager
def places(commands: list[str]):
    """What stands in braces in the commands, but {out}; a server runs if one of them needs it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likeness-commands-")))
        table = folder / "people.csv"
        table.write_text("key,Draw the same person.seed\nMüller,1\n写真,2\n", encoding="utf-8")
        found = {"table": table, "comfyui": find_comfyui()}
        if any("{people}" in command for command in commands):
            found |= {"people": folder / "people", "clip": folder / "clip.safetensors"}
            draw_people(found["people"])
            write_towers(found["clip"])
        if any("{server}" in command for command in commands):
            base = prepare_base_directory(folder / "comfyui", {"likeness": ROOT})
            server = stack.enter_context(ComfyServer(base, find_comfyui()))
            found |= {"server": f"http://127.0.0.1:{server.port}", "second": f"http://localhost:{server.port}"}
        yield found


def draw_people(folder: Path, count: int = 2):
    """Put drawn portraits into a new folder, as Facelets knows people."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        drawn = draw(sample_identity(rng), sample_look(rng), sample_pose(rng))
        Image.fromarray(drawn.image).save(folder / f"person {number + 1}.png")


def changes() -> str:
    """What git would say is new."""
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="only commands with one of these in them")
    texts = parser.parse_args().texts
    alone, together = ([one for one in some if not texts or any(text in one for text in texts)]
                       for some in (ALONE, TOGETHER))  # fmt: skip
    LOGS.mkdir(parents=True, exist_ok=True)
    before, start, done = changes(), time.monotonic(), []

    def finish(ran):
        report(ran)
        done.append(ran)

    for number, command in enumerate(alone):
        finish(run(command, {}, number))
    with places(together) as known, ThreadPoolExecutor(AT_ONCE) as pool:
        numbers = range(len(alone), len(alone) + len(together))
        for future in [pool.submit(lambda *given: finish(run(*given)), command, known, number)
                       for command, number in zip(together, numbers, strict=True)]:  # fmt: skip
            future.result()
    clean = changes() == before
    print(f"{(time.monotonic() - start) / 60:.1f} minutes, {sum(ran.worked for ran in done) / 60:.1f} of processors")
    print("the repository is as it was" if clean else f"FAILED: the repository is changed:\n{changes()}")
    failed = sum(not ran.good for ran in done) + (not clean)
    print(f"{len(done) + 1 - failed} passed, {failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
