"""Train Facelets: `python -m facelets.train STAGE` from the folder scripts, or `make facelets` for all of them in turn.

An interrupted training goes on from its checkpoint in build/facelets. A finished stage leaves its weights and an
account of its training (time, seed, curve) in scripts/facelets/finished and is not trained again; delete both folders
to begin anew. With --trial everything is trained in a few steps on a few pictures, in a temporary folder: that shows
that it runs, nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import torch

from . import dataset
from .adapter import Adapter, AdapterWeight
from .autoencoder import Autoencoder, Decoder
from .faces import Landmarks, Refinement, WhoIsIt
from .finishing import Finish
from .flux import FluxBase, FluxDetails, FluxFirst, FluxGuided, FluxWhole
from .flux_adapter import FluxAdapter, FluxAdapterLook
from .generator import Base, Details
from .judge import JudgeTraining
from .pack import SHIPPED, TRIAL, module
from .reader import Reading
from .training import train
from .words import Words

_IN_ORDER = (
    Autoencoder, Decoder, Landmarks, Refinement, WhoIsIt, Words, Reading, Base, Details, Finish, Adapter,
    AdapterWeight, FluxFirst, FluxBase, FluxDetails, FluxGuided, FluxWhole, FluxAdapter, FluxAdapterLook, JudgeTraining,
)  # fmt: skip
STAGES = {stage.name: stage for stage in _IN_ORDER}
PORTRAITS = "portraits"  # not a training: what the generator is trained on
_AFTER = list(STAGES).index(Reading.name)
ORDER = (*list(STAGES)[:_AFTER], PORTRAITS, *list(STAGES)[_AFTER:])
# A trial's steps, and pictures per step; the stages that are trained by several processes, which take seconds to start.
TRIED, TOGETHER = (8, 16), (Autoencoder.name, WhoIsIt.name)

# Without these glibc hands the tensors' memory back to the system after every step, and half the time is page faults.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "2147483648", "MALLOC_TRIM_THRESHOLD_": "8589934592", "OMP_NUM_THREADS": "1"}


def main():
    again = [sys.executable, "-m", "facelets.train", *sys.argv[1:]]
    if any(os.environ.get(name) != value for name, value in MEMORY.items()):
        os.execve(sys.executable, again, {**os.environ, **MEMORY})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=[*ORDER, "all"])
    parser.add_argument("--processes", type=int, default=2, help="that share a processor's work, or draw portraits")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="that trains, such as cuda")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"],
                        help="of products; weights stay float32; default: bfloat16 where it is fast")  # fmt: skip
    parser.add_argument("--trial", action="store_true", help="with all: see that it runs")
    options = parser.parse_args()
    if options.trial and options.stage != "all":
        parser.error("--trial goes with all: a stage needs what those before it have left")
    if options.trial and TRIAL is None:
        with tempfile.TemporaryDirectory(prefix="facelets-trial-") as folder:
            sys.exit(subprocess.run(again, env={**os.environ, "FACELETS_TRIAL": folder}).returncode)
    if options.dtype or options.device.type != "cpu":
        dtype = getattr(torch, options.dtype or "bfloat16")
    else:  # without instructions for it bfloat16 takes four times as long
        dtype = module("core.host.comfyui.managed").half_precision()
    for name in ORDER if options.stage == "all" else [options.stage]:
        if name == PORTRAITS:
            dataset.build(processes=options.processes)
        else:
            stage = STAGES[name]()
            stage.device, stage.dtype = options.device, dtype
            if options.trial:
                stage.steps, stage.batch = TRIED
            alone = options.trial and name not in TOGETHER
            train(stage, 1 if alone else options.processes)
    if options.trial:
        load = module("core.host.facelets.load")
        for architecture in load.ARCHITECTURES:
            load.load_facelets(SHIPPED, architecture)
        print("Trained, and loaded as LoadFacelets would.")


if __name__ == "__main__":
    main()
