"""What an applied adapter costs: operators and host reads that it adds to one forward of a tiny SDXL or FLUX.

    make bench-overhead

Counted, not timed: every operator that PyTorch dispatches (views aside: they move no data) and every read from the
device by the host, in one forward with the conditional and the unconditional row in one batch (FLUX without true
guidance has one row). Counts are the same on every machine with the same ComfyUI and PyTorch.
"""

import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("COMFYUI_ARGS", "--use-pytorch-cross-attention")  # what ComfyUI takes on GPUs
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from comfy_process import TINY_MODELS, HostPack, load_likeness, start_nodes
from torch.utils._python_dispatch import TorchDispatchMode

HOST_READS = ("aten._local_scalar_dense", "aten.item", "aten.equal", "aten.nonzero")


class Count(TorchDispatchMode):
    """Counts operators that return something other than a view of their input, and host reads."""

    def __init__(self):
        super().__init__()
        self.operators, self.host_reads = Counter(), 0

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        name = function.name().replace("::", ".")
        if name.startswith(HOST_READS):
            self.host_reads += 1
        elif not function.is_view and not name.startswith(
            ("aten.detach", "aten.alias", "aten._unsafe_view", "aten.lift")
        ):
            self.operators[name] += 1
        return function(*arguments, **(kwargs or {}))


def forward(model, cond, uncond, batch=1, cfg=4.0, channels=4):
    """One guided prediction through ComfyUI's own batching of conditional and unconditional rows."""
    import comfy.sample
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(cond, uncond)
    guider.set_cfg(cfg)
    counts = []

    class Sampler(comfy.samplers.Sampler):
        def sample(
            self,
            model_wrap,
            sigmas,
            extra_args,
            callback,
            noise,
            latent_image=None,
            denoise_mask=None,
            disable_pbar=False,
        ):
            model_wrap(noise, sigmas[:1].expand(batch), **extra_args)  # a first one fills what lives for the run
            with Count() as count:
                model_wrap(noise, sigmas[:1].expand(batch), **extra_args)
            counts.append(count)
            return noise

    noise = torch.randn(batch, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        guider.sample(noise, torch.zeros_like(noise), Sampler(), torch.tensor([1.0, 0.0]), disable_pbar=True)
    return counts[0]


def measure():
    """(case, count without, count with) for each case."""
    HostPack(start_nodes() / "custom_nodes" / TINY_MODELS.name)
    load_likeness()
    from host_cases import adapter, apply, conditioning, identity
    from tiny.unet import unet

    model, prompt, loaded = unet("sdxl"), (conditioning(seed=1), conditioning(seed=2)), adapter()
    mask = torch.zeros(1, 32, 32)
    mask[..., :16] = 1

    def patched(times=1, **options):
        result = (model, *prompt)
        for number in range(times):
            result = apply(*result, loaded, identity(number), **options)
        return result

    cases = {
        "one adapter": (patched(), 1),
        "one adapter, up to 90 % of the steps": (patched(end_at=0.9), 1),
        "one adapter with a mask": (patched(mask=mask), 1),
        "two adapters": (patched(2), 1),
        "one adapter, 4 pictures at once": (patched(), 4),
    }
    plain = {batch: forward(model, *prompt, batch=batch) for batch in (1, 4)}
    return [(f"SDXL, {name}", plain[batch], forward(*case, batch=batch)) for name, (case, batch) in cases.items()]


def measure_flux():
    """The same for FLUX, where one pass has no unconditional row: (case, count without, count with)."""
    from flux_cases import CASES, apply, conditioning
    from tiny import flux

    model, prompts = flux.flux(), (conditioning(1), conditioning(2))
    mask = torch.zeros(1, 128, 128)
    mask[..., :64] = 1
    cases = []
    for name, (load, face) in CASES.items():
        adapter = load()
        cases.append((f"FLUX, {name}", apply(model, adapter, face(), prompts=prompts), 1.0))
        if name == "PuLID":
            cases.append((f"FLUX, {name} with a mask", apply(model, adapter, face(), mask, prompts=prompts), 1.0))
            cases.append((f"FLUX, {name}, true guidance", apply(model, adapter, face(), prompts=prompts), 4.0))
            both = apply(model, adapter, face(), prompts=prompts)
            cases.append((f"FLUX, {name}, two people", apply(both[0], adapter, face(40), prompts=prompts), 1.0))
    plain = {cfg: forward(model, *prompts, cfg=cfg, channels=flux.CHANNELS) for cfg in (1.0, 4.0)}
    return [(name, plain[cfg], forward(*case, cfg=cfg, channels=flux.CHANNELS)) for name, case, cfg in cases]


def main():
    measured = [*measure(), *measure_flux()]  # ComfyUI may speak while it loads
    print("| one forward | operators without | added | host reads added |")
    print("|---|---|---|---|")
    for name, plain, patched in measured:
        before, after = (sum(count.operators.values()) for count in (plain, patched))
        print(f"| {name} | {before} | {after - before} | {patched.host_reads - plain.host_reads} |")
        if "--which" in sys.argv:
            print(dict(patched.operators - plain.operators), dict(plain.operators - patched.operators))


if __name__ == "__main__":
    main()
