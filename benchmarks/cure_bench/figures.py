"""The arithmetic: masks against regions, signals against noise, and tables."""

import numpy as np


def region_grid(region: np.ndarray, cell: int = 8, share: float = 0.3) -> np.ndarray:
    """Pixels bool [H, W] -> cells of the latent bool [H / cell, W / cell]: those that hold at least `share` of it.

    Less than half, so that thin things, such as the rim of glasses, are somewhere.
    """
    height, width = region.shape
    return region.reshape(height // cell, cell, width // cell, cell).mean(axis=(1, 3)) >= share


def intersection_over_union(mask: np.ndarray, truth: np.ndarray) -> float:
    """Of two boolean arrays; 1 if both are empty."""
    union = (mask | truth).sum()
    return float((mask & truth).sum() / union) if union else 1.0


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under precision over recall, as steps: the sum of precision times the gain in recall over thresholds.

    Cells of equal score come in together, so that no order among them is made up. `truth` must not be empty.
    """
    scores, truth = scores.ravel(), truth.ravel()
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each group of equal scores
    gain = np.diff(hits[last], prepend=0) / hits[-1]
    return float((gain * hits[last] / (last + 1)).sum())


def psnr(one, other, span: float) -> float:
    """Peak signal-to-noise ratio in dB of two arrays or tensors, for a signal that spans so much."""
    error = float(((one - other) ** 2).mean())
    return float(10 * np.log10(span**2 / error)) if error else float("inf")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
