"""What the judge's word is worth, on portraits that no training saw: `python -m facelets.verify_judge`.

With --write how well it reads each trait is left beside its weights: benchmarks/ruler/report/traits.py goes by that.
"""

import argparse
import json

import numpy as np
import torch

from .autoencoder import round_trip
from .dataset import trained_autoencoder
from .face_pictures import NOT_SHOWN
from .judge import WEIGHTS, Samples, corrupted, load_judge, read, samples
from .world import LOOKS, TRAITS

SEED = 20_000_003  # far from those of the stages
READABLE = 0.8  # correlation from which on a trait is called readable
AFTER = "after the autoencoder"  # which generated pictures come out of


def altered(truth: Samples, rng: np.random.Generator) -> Samples:
    """The portraits as training's own corruption leaves them."""
    pairs = zip(truth.images, truth.landmarks, strict=True)
    images, landmarks = zip(*(corrupted(*pair, rng) for pair in pairs), strict=True)
    return truth._replace(images=np.stack(images), landmarks=np.stack(landmarks))


def through_autoencoder(truth: Samples) -> Samples:
    """The portraits after the autoencoder has packed and unpacked them."""
    model = trained_autoencoder()
    parts = np.array_split(truth.images, max(1, len(truth.images) // 16))
    return truth._replace(images=np.concatenate([round_trip(model, part) for part in parts]))


def verify(judge, truth: Samples) -> tuple[dict[str, float], dict[str, float], float]:
    """Accuracy per attribute where it shows, correlation per trait, and the landmarks' mean error in pixels."""
    seen = read(judge, torch.from_numpy(truth.images).float() / 255)
    right = {}
    for column, (name, words) in enumerate(LOOKS.items()):
        asked = [(words[answer], look[name]) for answer, look in zip(truth.answers[:, column], seen.looks, strict=True)
                 if answer != NOT_SHOWN]  # fmt: skip
        right[name] = float(np.mean([word == read_word for word, read_word in asked]))
    alike = {name: float(np.corrcoef(seen.traits[:, i], truth.traits[:, i])[0, 1]) for i, name in enumerate(TRAITS)}
    off = np.linalg.norm(seen.landmarks.numpy() - truth.landmarks, axis=2).mean()
    return right, alike, float(off)


def table(title: str, rows, columns: list[dict[str, float]], names: list[str]):
    print(f"\n| {title} | {' | '.join(names)} |")
    print("|---|" + "---|" * len(names))
    for row in rows:
        print(f"| {row} | {' | '.join(f'{column[row]:.3f}' for column in columns)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--write", action="store_true", help="the list of traits beside its weights, for the ruler")
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = load_judge()
    truth = samples(np.random.default_rng(SEED), options.pictures)
    cases = {"drawings": truth, AFTER: through_autoencoder(truth),
             "blurred, moved, noisy": altered(truth, np.random.default_rng(SEED + 1))}  # fmt: skip
    right, alike, off = zip(*(verify(judge, case) for case in cases.values()), strict=True)
    names = list(cases)
    print(f"{options.pictures} portraits; landmarks off by "
          + ", ".join(f"{pixels:.2f} px ({name})" for name, pixels in zip(names, off, strict=True)))  # fmt: skip
    table("accuracy", LOOKS, right, names)
    table("correlation", sorted(TRAITS, key=lambda trait: -alike[0][trait]), alike, names)
    seen = alike[names.index(AFTER)]
    readable = [trait for trait in TRAITS if seen[trait] >= READABLE]
    print(f"\nReadable (correlation from {READABLE} on, {AFTER}): {', '.join(readable)}")
    if options.write:
        rounded = {trait: round(seen[trait], 3) for trait in TRAITS}
        WEIGHTS.with_suffix(".json").write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
