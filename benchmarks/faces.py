"""Print how fast and how large face encoders are here and in onnxruntime, on the same files in one run, as Markdown.

Usage: python benchmarks/faces.py [--quick]   (the files are written first, with random weights in the published layout)
onnxruntime computes on the CPU with as many threads as torch. Each number is the median of several turns, the two
taking turns; peak memory is that of a process that loads and runs one model by itself.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import alone  # noqa: E402, F401  (loads the pack)
import numpy as np  # noqa: E402
import onnx_files  # noqa: E402
import onnxruntime  # noqa: E402
import photographs  # noqa: E402
import torch  # noqa: E402
from likeness.core.faces.align.alignment import arcface  # noqa: E402
from likeness.core.faces.detect.scrfd import load_scrfd  # noqa: E402
from likeness.core.faces.encoder import FaceEncoder  # noqa: E402
from likeness.core.faces.onnx import onnx_roles as roles  # noqa: E402
from likeness.core.faces.onnx.onnx_embedder import load_embedder  # noqa: E402
from likeness.core.faces.onnx.packs import read_pack  # noqa: E402
from likeness.core.graph import build  # noqa: E402
from likeness.core.weights.onnx_file import read_onnx  # noqa: E402

BATCHES = (1, 8, 32)
KINDS = ("r50", "r100", "mbf", "2d106det", "1k3d68", "genderage", "scrfd_500m", "scrfd_10g")
HALF = torch.bfloat16


def session_of(path):
    """onnxruntime on the CPU, with torch's number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_turns(ways: dict, turns: int) -> dict[str, list[float]]:
    """Seconds of each way in each turn, each after a run that does not count.

    onnxruntime's threads go on spinning for a while after a run, which would be counted against whoever comes next.
    """
    seconds = {name: [] for name in ways}
    for _ in range(turns):
        for name, run in ways.items():
            run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported()


@torch.no_grad()
def models(kinds, batches, turns: int, width: int):
    """A table row per model and batch."""
    print("| model | batch | onnxruntime, ms a picture | torch, float32 | ratio | torch, bfloat16 | ratio | spread |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        path = onnx_files.file(kind, width=1 if kind.startswith("scrfd") else width)
        session, entry = session_of(path), None
        entry = session.get_inputs()[0]
        graph = build(read_onnx(path))
        is_descriptor = kind in ("r50", "r100", "mbf")
        half = build(read_onnx(path), dtype=HALF) if is_descriptor and has_bfloat16() else None
        for batch in batches:
            if kind.startswith("scrfd") and batch > 1 or kind == "r100" and batch == max(batches):
                continue  # the published detectors take one picture at a time; the large descriptor takes minutes
            x = torch.rand(batch, *graph.checked_shape[1:])
            together = not isinstance(entry.shape[0], int)
            parts = [x.numpy()] if together else [part.numpy() for part in x.split(1)]
            ways = {
                "ort": lambda parts=parts, session=session, entry=entry: [
                    session.run(None, {entry.name: part}) for part in parts
                ],
                "torch": lambda x=x, graph=graph: graph(x),
            }
            if half is not None:
                ways["half"] = lambda x=x, half=half: half(x.to(HALF).contiguous(memory_format=torch.channels_last))
            seconds = in_turns(ways, turns if batch == 1 else 3)
            each = {name: statistics.median(values) * 1000 / batch for name, values in seconds.items()}
            spread = max((max(values) - min(values)) / statistics.median(values) for values in seconds.values())
            lower = f"{each['half']:.2f} | {each['ort'] / each['half']:.2f}x" if half is not None else "- | -"
            print(f"| {kind} | {batch} | {each['ort']:.2f} | {each['torch']:.2f} | {each['ort'] / each['torch']:.2f}x "
                  f"| {lower} | {spread:.0%} |", flush=True)  # fmt: skip


def pack_folder(width: int) -> Path:
    return onnx_files.pack(ROOT / "out" / "bench-faces" / f"pack-{width}", "r50", "10g", width=width)


def our_encoder(folder, dtype=None) -> FaceEncoder:
    pack = read_pack("pack", list(folder.iterdir()))
    embedder = load_embedder(pack.first(roles.EMBEDDER), dtype=dtype)
    return FaceEncoder(load_scrfd(pack.first(roles.DETECTOR)), embedder, "pack", embedder.dim, arcface(112)).eval()


def their_analysis(folder):
    from insightface.app import FaceAnalysis

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    app = FaceAnalysis(name=str(folder), allowed_modules=["detection", "recognition"], sess_options=options,
                       providers=["CPUExecutionProvider"])  # fmt: skip
    app.prepare(ctx_id=-1)
    return app


@torch.no_grad()
def chain(turns: int, width: int):
    """Detection, alignment and description of the photographs, as a user would call either."""
    folder = pack_folder(width)
    pictures = [photographs.picture(name) for name in photographs.photographs()]
    images = [photographs.as_image(picture) for picture in pictures]
    arrays = [np.array(picture)[..., ::-1].copy() for picture in pictures]
    app, encoder = their_analysis(folder), our_encoder(folder)
    ways = {
        "insightface, onnxruntime": lambda: sum(len(app.get(array)) for array in arrays),
        "torch, float32": lambda: sum(encoder(image)[0].total for image in images),
    }
    if has_bfloat16():
        lower = our_encoder(folder, HALF)
        ways["torch, descriptor in bfloat16"] = lambda: sum(lower(image)[0].total for image in images)
    counts = {name: run() for name, run in ways.items()}
    seconds = {name: statistics.median(values) for name, values in in_turns(ways, turns).items()}
    first = next(iter(seconds.values()))
    print(f"\n| detect, align, describe: {len(images)} photographs | faces | s | ms a face | ratio |")
    print("|---|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {counts[name]} | {value:.2f} | {value * 1000 / counts[name]:.0f} | {first / value:.2f}x |")


def peak_memory() -> float:
    """MiB that this process has had at most; Linux says so by itself, and not with what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@torch.no_grad()
def one_by_itself(kind: str, way: str, width: int):
    """Load and run one model at batch 8, and say what memory that took, as JSON."""
    path = onnx_files.file(kind, width=width)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew here
    before = peak_memory()
    if way == "ort":
        session = session_of(path)
        entry = session.get_inputs()[0]
        session.run(None, {entry.name: np.random.rand(8, *entry.shape[1:]).astype(np.float32)})
    else:
        dtype = HALF if way == "half" else None
        graph = build(read_onnx(path), dtype=dtype)
        graph(torch.rand(8, *graph.checked_shape[1:]).to(dtype or torch.float32))
    print(json.dumps(peak_memory() - before))


def memory(kinds, width: int):
    """Peak memory over what the process had before, MiB."""
    print("\n| peak memory at batch 8, MiB | onnxruntime | torch, float32 | torch, bfloat16 |")
    print("|---|---|---|---|")
    for kind in kinds:
        taken = []
        for way in ("ort", "torch", *(["half"] if has_bfloat16() else [])):
            command = [sys.executable, __file__, "--alone", kind, way, "--width", str(width)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            taken.append(f"{json.loads(done.stdout.splitlines()[-1]):.0f}")
        print(f"| {kind} | {' | '.join(taken + ['-'] * (3 - len(taken)))} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="narrow models, few turns: to see that it runs")
    parser.add_argument("--memory", action="store_true", help="only the table of peak memory")
    parser.add_argument("--alone", nargs=2, metavar=("KIND", "WAY"), help="used by itself to measure memory")
    parser.add_argument("--width", type=int, default=1)
    asked = parser.parse_args()
    if asked.alone:
        one_by_itself(*asked.alone, asked.width)
        return
    width = 4 if asked.quick else asked.width
    name = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("model name")), platform.processor())  # fmt: skip
    print(f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, onnxruntime "
          f"{onnxruntime.__version__}\n")  # fmt: skip
    kinds = ("r50", "genderage", "scrfd_500m") if asked.quick else KINDS
    if asked.memory:
        memory(("r50", "r100", "mbf"), width)
        return
    models(kinds, (1, 2) if asked.quick else BATCHES, 2 if asked.quick else 5, width)
    if not asked.quick:
        chain(3, width)
    memory(("r50",) if asked.quick else ("r50", "r100", "mbf"), width)


if __name__ == "__main__":
    main()
