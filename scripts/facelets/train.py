"""Train a stage of Facelets: `python -m facelets.train STAGE`, from the folder scripts."""

import argparse
import os
import sys

from . import dataset
from .adapter import Adapter
from .autoencoder import Autoencoder
from .faces import Landmarks, Refinement, WhoIsIt
from .generator import Base
from .judge import JudgeTraining
from .training import train

FACES = (Landmarks, Refinement, WhoIsIt)
STAGES = {stage.name: stage for stage in (Autoencoder, *FACES, Base, Adapter, JudgeTraining)}


# Without these glibc hands the tensors' memory back to the system after every step, and half the time is page faults.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "2147483648", "MALLOC_TRIM_THRESHOLD_": "8589934592", "OMP_NUM_THREADS": "1"}


def main():
    if any(os.environ.get(name) != value for name, value in MEMORY.items()):
        os.execve(sys.executable, [sys.executable, "-m", "facelets.train", *sys.argv[1:]], {**os.environ, **MEMORY})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=[*STAGES, "portraits"])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.stage == "portraits":
        dataset.build(processes=options.processes)
    else:
        train(STAGES[options.stage](), options.processes)


if __name__ == "__main__":
    main()
