"""Send thousands of generated prompts to a real ComfyUI, and print what became of them.

    make fuzz-server                                  # 2,500 prompts
    make fuzz-server ARGS="--cases 300 --seed 1"
    make fuzz-server ARGS="--only out/fuzz/prompts/12.json"

Every prompt must end in a result, in ComfyUI's own refusal or in one sentence of the pack, within a minute, with the
server alive and answering as before, and without a look at a file outside ComfyUI's folders. Anything else is a
failure: its prompt is left in out/fuzz/prompts, and the exit code says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
os.environ["OMP_NUM_THREADS"] = "1"

import alone  # noqa: E402, F401  (loads the pack)
from comfy_process import ComfyServer, find_comfyui, prepare_base  # noqa: E402
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings  # noqa: E402

from fuzz import verdict  # noqa: E402
from fuzz.canaries import Canaries  # noqa: E402
from fuzz.graphs import prompts  # noqa: E402
from fuzz.place import furnish  # noqa: E402
from fuzz.values import OUTSIDE  # noqa: E402

PATIENCE, GRACE = 60.0, 60.0  # seconds for a prompt, and for one to stop when it is told to
WATCH = Path(__file__).resolve().parent / "likeness_watch"
LEFT = ROOT / "out" / "fuzz" / "prompts"
GOOD = {
    "1": {"class_type": "LoadFaceEncoder", "inputs": {"encoder": "embedded", "detector": "auto",
                                                      "min_confidence": 0.5}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "anna.png"}},
    "3": {"class_type": "EncodeIdentity", "inputs": {"face_encoder": ["1", 0], "image": ["2", 0], "combine": "mean",
                                                     "face_index": "0", "on_no_face": "error"}},
    "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 1]}},
}  # fmt: skip


class Target:
    """A ComfyUI with the pack, the watch, odd files in its folders and canaries outside of them."""

    def __init__(self, root: Path):
        self.outside, self.report = root / "outside", root / "watch.jsonl"
        self.report.touch()
        self.base = prepare_base(root / "base")
        (self.base / "custom_nodes" / WATCH.name).symlink_to(WATCH, target_is_directory=True)
        subprocess.run([sys.executable, "-m", "tiny", self.base / "models"], cwd=ROOT / "tests", check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        good = furnish(self.base)
        self.canaries = Canaries([self.outside, self.base, self.base / "user", self.base / "models"], good)
        os.environ |= {"LIKENESS_WATCH": str(self.report), "LIKENESS_ROOT": str(ROOT)}
        self.starts, self.server = 0, None

    def start(self) -> None:
        """Start the server, or start it again after one that hangs or died."""
        if self.server is not None:
            self.server.__exit__()
        self.starts += 1
        self.server = ComfyServer(self.base, find_comfyui(), extra_args=("--cache-lru", "60")).__enter__()

    def asked(self, prompt: dict, patience: float = PATIENCE) -> tuple[verdict.Verdict, dict | None]:
        """What becomes of a prompt, and its entry in the history if it ran."""
        body = json.dumps({"prompt": prompt}).replace(OUTSIDE, str(self.outside))
        answer = self.server._http.post(f"{self.server._url}/prompt", data=body, timeout=PATIENCE,
                                        headers={"Content-Type": "application/json"})  # fmt: skip
        if answer.status_code == 500:  # what ComfyUI itself makes of links that lead nowhere; the log says whose it is
            return verdict.Verdict(verdict.THEIRS, "500"), None
        said = answer.json()
        if not answer.ok:
            return verdict.of_refusal(said), None
        # ComfyUI runs what it can of a prompt and says what it left out
        partly = verdict.of_refusal(said) if said.get("node_errors") else None
        entry = self._finished(said["prompt_id"], patience)
        if entry is None:
            return verdict.Verdict(verdict.FAILED, f"not done after {patience:g} s"), None
        found = verdict.of_history(entry)
        return (partly if partly and found.word == verdict.DONE else found), entry

    def _finished(self, prompt_id, patience):
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            entry = self.server.history(prompt_id)
            if entry is not None:
                return entry
            time.sleep(0.01)
        self.server.interrupt()
        time.sleep(1)
        if self.server.history(prompt_id) is None:
            self.start()
        return None

    def good(self, least: float) -> str:
        """What a prompt that has nothing wrong says; every face in it is found with more than this `least` confidence,
        so another one is another prompt to ComfyUI's cache and has the same answer."""
        loader = {**GOOD["1"], "inputs": {**GOOD["1"]["inputs"], "min_confidence": least}}
        found, entry = self.asked({**GOOD, "1": loader})
        assert found.word == verdict.DONE, found
        return entry["outputs"]["4"]["text"][0]

    def breaches(self) -> list[str]:
        """What code of the pack opened or did that it should not, and canaries that anybody touched."""
        lines = [" ".join(json.loads(line)) for line in self.report.read_text().splitlines()]
        return [*lines, *(f"canary {path}" for path in self.canaries.taken())]

    def stray_traces(self) -> list[str]:
        """Tracebacks in the log that go through the pack and do not belong to a node that failed."""
        parts = self.server.log_path.read_text(errors="replace").split("Traceback (most recent call last):")
        own = ("!!! Exception during processing !!!", "direct cause of the following", "another exception occurred")
        return [after[:2000] for before, after in zip(parts, parts[1:], strict=False)
                if not any(words in before for words in own) and verdict.PACK in after]  # fmt: skip


def fuzz(target: Target, count: int, number: int, names: tuple[str, ...]):
    """(node class, Verdict, seconds, prompt) of every prompt."""
    info = target.server._get("/object_info").json()
    own = tuple(name for name in sorted(info) if info[name]["python_module"] == "custom_nodes.likeness")
    results = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], deadline=None, database=None, verbosity=Verbosity.quiet,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(prompts(info, names or own))
    def one(case):
        name, prompt = case
        start = time.monotonic()
        try:
            found, _ = target.asked(prompt)
        except (OSError, ValueError) as error:
            found = verdict.Verdict(verdict.FAILED, f"the server answers no more: {type(error).__name__}")
            target.start()
        results.append((name, found, time.monotonic() - start))
        if found.word == verdict.FAILED:
            LEFT.mkdir(parents=True, exist_ok=True)
            path = LEFT / f"{len(results)}.json"
            path.write_text(json.dumps(prompt, indent=1))
            print(f"FAILED {path.relative_to(ROOT)} {name}: {found.text}", file=sys.stderr, flush=True)

    one()
    return results


def table(results) -> str:
    """Markdown: what became of the prompts around every node."""
    words = (verdict.DONE, verdict.THEIRS, verdict.OURS, verdict.FOREIGN, verdict.FAILED)
    by_name = defaultdict(list)
    for name, found, seconds in results:
        by_name[name].append((found, seconds))
    everything = [(found, seconds) for _, found, seconds in results]
    lines = [f"| node | prompts | {' | '.join(words)} | slowest, s |", "|---|" + "---|" * (len(words) + 2)]
    for name, own in [*sorted(by_name.items()), ("**all**", everything)]:
        counts = Counter(found.word for found, _ in own)
        numbers = " | ".join(str(counts[word]) for word in words)
        lines.append(f"| {name} | {len(own)} | {numbers} | {max(seconds for _, seconds in own):.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2500, help="prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--node", action="append", default=[], help="only these node classes")
    parser.add_argument("--sentences", action="store_true", help="print what each node said most")
    parser.add_argument("--only", type=Path, help="a prompt that was left, to look at")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="likeness-fuzz-") as root:
        target = Target(Path(root))
        target.start()
        try:
            if options.only is not None:
                print(target.asked(json.loads((ROOT / options.only).read_text()))[0])
                return
            before = target.good(0.5)
            with target.canaries:
                start = time.monotonic()
                results = fuzz(target, options.cases, options.seed, tuple(options.node))
                spent, after = time.monotonic() - start, target.good(0.51)
                breaches = target.breaches()
            strays = target.stray_traces()
        finally:
            target.server.__exit__()
    print(f"{len(results)} prompts, seed {options.seed}, {spent:.0f} s, {target.starts} start(s) of the server\n")
    print(table(results))
    foreign = Counter(found.text[:160] for _, found, _ in results if found.word == verdict.FOREIGN)
    print(
        "\nNodes of others that failed:",
        *(f"  {times} x {text!r}" for text, times in foreign.most_common(15)),
        sep="\n",
    )
    if options.sentences:
        said = Counter((name, found.text[:150]) for name, found, _ in results if found.word == verdict.OURS)
        print(
            "\nSentences:", *(f"  {times} x {name}: {text}" for (name, text), times in said.most_common(80)), sep="\n"
        )
    print(f"\nOpened or done outside ComfyUI's folders: {breaches or 'nothing'}")
    print(f"The same prompt before and after: {'the same answer' if before == after else f'{before!r}, {after!r}'}")
    print(f"Tracebacks of the pack beside those of failed nodes: {len(strays)}", *strays[:3], sep="\n")
    failed = any(found.word == verdict.FAILED for _, found, _ in results)
    if failed or breaches or strays or before != after or target.starts > 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
