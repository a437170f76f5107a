"""Every published adapter at its full size, with random weights, on a full-size SD1.5, SDXL or FLUX: time and memory.

    make bench-layouts                 # all; FLUX takes minutes a prediction and 20 GB
    make bench-layouts ARGS="--only wplus pulid --latent 16"

A file of the published keys and shapes is written in half precision, read by LoadIDAdapter's own code, applied with
random face features, and one guided prediction is made (a conditional and an unconditional row). Peak memory is what
the process has held more than before the file was read, by the kernel's count; the model, stored in half precision
(FLUX in fp8) and computing in single, is in memory all the time. FLUX predicts without an unconditional row.
"""

import argparse
import gc
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("COMFYUI_ARGS", "--use-pytorch-cross-attention")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from comfy_process import TINY_MODELS, HostPack, load_likeness, start_nodes
from layouts import shapes
from safetensors.torch import save_file

# Pictures go through vision models of these sizes: tokens, and what the whole picture's embedding has.
_SEEN = {"clip-h": (257, 1024), "clip-g": (257, 1280), "clip-l": (257, 768), "eva-l336": (577, 768),
         "siglip-b256": (256, 768), "siglip-so400m": (729, 1152)}  # fmt: skip
_EVA_STATES, _PICTURE = 5, 224
_MODELS = {"SD1.5": "sd15", "SDXL": "sdxl", "FLUX": "flux"}
_TEXT = {"sd15": (768, 768), "sdxl": (2048, 1280), "flux": (4096, 768)}  # widths of a prompt's tokens, and pooled


def adapters(pack) -> dict[str, str]:
    """Layout -> "sd15" or "sdxl", of the published files whose layouts are known."""
    known = [known for family in pack.module("core.adapters").FAMILIES for known in family.known]
    return {file.layout: _MODELS[file.base.name] for one in known for file in one.files if file.layout}


def write(name: str, path: Path) -> float:
    """Write random weights of a layout in half precision; returns gigabytes."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, shape in shapes()[name].items():
        tensor = torch.empty(shape, dtype=torch.float16)
        tensor.normal_(0, (shape[-1] if len(shape) > 1 else 100) ** -0.5, generator=generator)
        tensors[key] = tensor
    save_file(tensors, path)
    return path.stat().st_size / 1e9


def memory(field: str) -> float:
    """VmRSS or VmHWM of this process in gigabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1e6
    raise KeyError(field)


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def random_face(pack, spec):
    """What an adapter of this spec is given of one photograph."""
    adapters = pack.module("core.adapters")
    vectors = torch.randn(1, spec.face_dim) if spec.face_dim else None
    seen = None
    if spec.look is not None and spec.look.vision is None:
        seen = adapters.Seen((torch.rand(1, 3, _PICTURE, _PICTURE),))
    elif spec.look is not None:
        (tokens, pooled), width = _SEEN[spec.look.vision], adapters.VISION[spec.look.vision].width
        count = _EVA_STATES if spec.look.vision == "eva-l336" else 1
        seen = adapters.Seen(tuple(torch.randn(1, tokens, width) for _ in range(count)), torch.randn(1, pooled))
    return adapters.FaceInput(vectors, seen, seen)


def watch_runs(pack) -> list:
    """Sampling runs from now on, each with the sites that fired in it."""
    made, run = [], pack.module("core.host.sampling.run").Run

    class Watched(run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    pack.module("core.host.sampling.run").Run = Watched
    return made


def conditioning(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    width, pooled = _TEXT[kind]
    text = torch.randn(1, 77, width, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def predict(kind, model, positive, negative, latent):
    """One step's picture."""
    import flux_cases
    import host_cases

    if kind == "flux":
        return flux_cases.sample(model, positive, negative, steps=1, size=(latent, latent))
    return host_cases.sample(model, positive, negative, steps=1, shape=(1, 4, latent, latent))


def measure(pack, model, name: str, kind: str, folder: Path, latent: int) -> list[str]:
    """One row of the table."""
    path = folder / f"{name}.safetensors"
    size = write(name, path)
    host, person = pack.module("core.host.adapters.adapter"), pack.module("core.host.who.person")
    prompts = conditioning(kind, 1), conditioning(kind, 2)
    gc.collect()
    before = memory("VmRSS")
    forget_peak()
    start = time.perf_counter()
    loaded = host.load_adapter_named(f"likeness/{path.name}")
    load_time = time.perf_counter() - start
    start = time.perf_counter()
    if loaded.spec.site_widths:
        face, nobody = random_face(pack, loaded.spec), random_face(pack, loaded.spec)
        who = person.Person(person.no_identity(), face, nobody)
        patched = host.apply_person(model, *prompts, loaded, who, host.Strength(0.8))
    else:
        module = pack.module("core.host.comfyui.managed").loaded(loaded.patcher)
        with torch.no_grad():
            tokens = module.project(random_face(pack, loaded.spec))
            if loaded.spec.in_prompt:
                module.fuse(torch.randn(1, tokens.shape[1], loaded.spec.token_dim), tokens)
        patched = host.with_lora(model, loaded, host.Strength(1.0), host.Settings()), *prompts
    apply_time = time.perf_counter() - start
    start = time.perf_counter()
    runs = watch_runs(pack)
    picture = predict(kind, *patched, latent)
    step_time = time.perf_counter() - start
    peak = memory("VmHWM") - before
    path.unlink()
    sites = len(runs[-1].fired) if runs else 0
    assert picture.isfinite().all(), name
    return [name, loaded.spec.title, f"{size:.2f}", f"{load_time:.1f}", f"{apply_time:.1f}", f"{step_time:.1f}",
            f"{peak:.2f}", str(sites)]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="parts of the layouts' names")
    parser.add_argument("--latent", type=int, default=32, help="side of the latent")
    arguments = parser.parse_args()
    base = start_nodes()
    HostPack(base / "custom_nodes" / TINY_MODELS.name)
    pack = load_likeness()
    from tiny.flux import full
    from tiny.unet import unet

    chosen = {name: kind for name, kind in adapters(pack).items()
              if not arguments.only or any(part in name for part in arguments.only)}  # fmt: skip
    print("| layout | what it is | file, GB | load, s | apply, s | one prediction, s | peak, GB | sites |")
    print("|---|---|---|---|---|---|---|---|")
    folder = base / "models/likeness"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in _TEXT:
        rows = [name for name in chosen if chosen[name] == kind]
        if not rows:
            continue
        model = full() if kind == "flux" else unet(f"{kind}_full", dtype=torch.float16, compute=torch.float32)
        start = time.perf_counter()
        predict(kind, model, conditioning(kind, 1), conditioning(kind, 2), arguments.latent)
        plain = time.perf_counter() - start
        print(f"| {kind} alone | {memory('VmRSS'):.1f} GB in memory | | | | {plain:.1f} | | |", flush=True)
        for name in rows:
            print("| " + " | ".join(measure(pack, model, name, kind, folder, arguments.latent)) + " |", flush=True)
        del model
        gc.collect()


if __name__ == "__main__":
    main()
