"""What the autoencoder keeps of portraits that no training saw: `python -m facelets.verify_autoencoder`."""

import argparse

import numpy as np
import torch

from .autoencoder import round_trip
from .dataset import trained_autoencoder
from .world import REGIONS, draw, sample_identity, sample_look, sample_pose

SEED = 40_000_003  # far from those of the stages
SMALL = ("eyes", "mouth", "glasses", "brows")  # regions that decide whether a face can be read


def psnr(square: np.ndarray) -> float:
    """Decibels of squared errors of values in 0..255."""
    return float(10 * np.log10(255**2 / square.mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng, model = np.random.default_rng(SEED), trained_autoencoder()
    portraits = [draw(sample_identity(rng), sample_look(rng), sample_pose(rng), labelled=True)
                 for _ in range(options.pictures)]  # fmt: skip
    images = np.stack([portrait.image for portrait in portraits])
    kept = np.concatenate([round_trip(model, part) for part in np.array_split(images, max(1, len(images) // 16))])
    square = np.square(kept.astype(np.float64) - images)
    means = [psnr(one) for one in square]
    print(f"{options.pictures} portraits; PSNR: mean {np.mean(means):.2f} dB, worst {min(means):.2f} dB, of the pooled "
          f"error {psnr(square):.2f} dB")  # fmt: skip
    labels = np.stack([portrait.labels for portrait in portraits])
    print("pooled error inside regions: "
          + ", ".join(f"{name} {psnr(square[labels == REGIONS.index(name)]):.1f} dB" for name in SMALL))  # fmt: skip


if __name__ == "__main__":
    main()
