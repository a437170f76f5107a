"""What scores of pairs say about an encoder: pairs of one person ("same") and of two ("different")."""

import numpy as np


def area_under_curve(same, different) -> float:
    """Chance that a pair of one person scores above a pair of two, ties counting half (Mann and Whitney's U over its
    maximum)."""
    same, different = np.asarray(same), np.sort(different)
    below = (np.searchsorted(different, same, "left") + np.searchsorted(different, same, "right")) / 2
    return float(below.mean() / len(different))


def logistic(same, different) -> tuple[float, float]:
    """(a, b) of p(same) = 1 / (1 + exp(-a * (score - b))), both kinds weighing the same, by Newton's method."""
    x = np.concatenate([same, different]).astype(np.float64)
    y = np.repeat([1.0, 0.0], [len(same), len(different)])
    weight = np.repeat([0.5 / len(same), 0.5 / len(different)], [len(same), len(different)])
    centre, spread = x.mean(), x.std()
    design = np.stack([(x - centre) / spread, np.ones_like(x)], 1)
    theta = np.zeros(2)
    ridge = np.diag([1e-4, 0.0])  # keeps the slope finite when the two kinds do not overlap
    for _ in range(100):
        p = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (weight * (p - y)) + ridge @ theta
        theta = theta - np.linalg.solve(design.T @ (design * (weight * p * (1 - p))[:, None]) + ridge, gradient)
    a = theta[0] / spread
    return float(a), float(centre - theta[1] / a)
