"""Contact sheets: people from left to right; from top to bottom their reference and the picture of each condition."""

from pathlib import Path

import cv2
import numpy as np

_LABEL, _GAP = 170, 2  # pixels


def contact_sheet(rows: dict[str, list[np.ndarray]], path: Path):
    """Write a PNG of rows of pictures uint8 [128, 128, 3], each with its name on the left."""
    sheet = [np.concatenate([_label(name), *(_framed(picture) for picture in row)], 1) for name, row in rows.items()]
    cv2.imwrite(str(path), np.ascontiguousarray(np.concatenate(sheet, 0)[..., ::-1]))


def _framed(picture):
    return np.pad(picture, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=255)


def _label(name):
    label = np.full((128 + 2 * _GAP, _LABEL, 3), 255, np.uint8)
    cv2.putText(label, name, (6, 70), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return label
