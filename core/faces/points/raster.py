"""Three shapes as OpenCV rasterises them, pixel for pixel, in numpy alone: ellipse outline, convex polygon, disc.

The rules are those of OpenCV's `ellipse2Poly`, `fillConvexPoly` (8-connected, no sub-pixel shift) and `circle`
(filled) as they behave in 4.x and 5.x. A shape comes back as the flat indices `y * width + x` of the pixels that it
covers inside a frame of `height` x `width`; an index may occur more than once.
"""

import numpy as np

FRACTION_BITS = 16  # polygon edges walk down the rows in 48.16 fixed point
HALF = 1 << (FRACTION_BITS - 1)

# OpenCV takes sines from a table of seven decimals in single precision; the true sine rounds a few vertices elsewhere.
SINE = np.round(np.sin(np.deg2rad(np.arange(451))), 7).astype(np.float32).astype(np.float64)


def ellipse_outline(center: tuple[int, int], axes: tuple[int, int], angle: int) -> np.ndarray:
    """Vertices of a whole ellipse, one per degree: `cv2.ellipse2Poly(center, axes, angle, 0, 360, 1)`.

    `axes` are the half-lengths in pixels, `angle` is in whole degrees from -360 to 360. Returns int64 [M,2] (x, y),
    neighbours distinct; an ellipse that rounds to a single pixel comes back as its centre, twice.
    """
    angle += 360 * (angle < 0)
    cos, sin = SINE[450 - angle], SINE[angle]
    along, across = axes[0] * SINE[450:89:-1], axes[1] * SINE[:361]
    x = center[0] + along * cos - across * sin
    y = center[1] + along * sin + across * cos
    points = np.rint(np.stack([x, y], axis=1)).astype(np.int64)
    moved = np.any(points[1:] != points[:-1], axis=1)
    if not moved.any():
        return np.array([center, center], dtype=np.int64)
    return points[np.concatenate([[True], moved])]


def convex_polygon(vertices: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels of a filled convex polygon with its outline: `cv2.fillConvexPoly`. `vertices` int64 [M,2] (x, y)."""
    return np.concatenate([_outline(vertices, height, width), _interior(vertices, height, width)])


def disc(center: tuple[int, int], radius: int, height: int, width: int) -> np.ndarray:
    """Pixels of a filled circle: `cv2.circle(..., radius, thickness=-1)`, by the integer midpoint rule."""
    reach = np.zeros(2 * radius + 1, dtype=np.int64)  # half the width of each row, from -radius to radius
    far, near, error = radius, 0, 0
    while far >= near:
        for row, half in ((near, far), (far, near)):
            reach[[radius - row, radius + row]] = np.maximum(reach[[radius - row, radius + row]], half)
        error += 2 * near + 1
        near += 1
        if error > 0:
            error -= 2 * far - 1
            far -= 1
    rows = center[1] + np.arange(-radius, radius + 1)
    seen = (rows >= 0) & (rows < height)
    return _spans(rows[seen], center[0] - reach[seen], center[0] + reach[seen], width)


def _interior(vertices: np.ndarray, height: int, width: int) -> np.ndarray:
    """The rows between the polygon's two sides, from the topmost vertex down to, but without, the lowest row."""
    (left, top), (right, bottom) = vertices.min(axis=0), vertices.max(axis=0)
    if len(vertices) < 3 or right < 0 or bottom < 0 or left >= width or top >= height:
        return np.empty(0, dtype=np.int64)
    rows = np.arange(max(top, 0), min(bottom, height))
    first = int(vertices[:, 1].argmin())
    sides = np.roll(vertices, -first, axis=0), np.roll(vertices[::-1], first + 1, axis=0)
    one, other = (_side(chain, rows) for chain in sides)
    return _spans(
        rows, (np.minimum(one, other) + HALF) >> FRACTION_BITS, (np.maximum(one, other) + HALF) >> FRACTION_BITS, width
    )


def _side(chain: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Fixed-point x of one side at each row. `chain` [M,2] runs from the topmost vertex along that side.

    An edge takes over at the row where the one before it ended, and only if it ends lower than anything before it;
    it starts at the x of its own upper vertex even where rounding has put that vertex above the row.
    """
    x, y = chain[:, 0], chain[:, 1]
    lowest = np.maximum.accumulate(y)
    end = 1 + np.flatnonzero(y[1:] > lowest[:-1])
    start_row, drop = lowest[end - 1], y[end] - lowest[end - 1]
    twice_run = ((x[end] - x[end - 1]) << (FRACTION_BITS + 1)) + drop
    # C's division: towards zero, so a slope to the left rounds half a step differently from one to the right.
    slope = np.sign(twice_run) * (np.abs(twice_run) // (2 * drop))
    edge = np.searchsorted(y[end], rows, side="right")
    return (x[end - 1][edge] << FRACTION_BITS) + (rows - start_row[edge]) * slope[edge]


def _spans(rows: np.ndarray, left: np.ndarray, right: np.ndarray, width: int) -> np.ndarray:
    """Flat indices of the pixels left..right (inclusive) of each row, cut to the frame's width."""
    left, right = np.maximum(left, 0), np.minimum(right, width - 1)
    counts = np.maximum(right - left + 1, 0)
    return np.repeat(rows * width + left, counts) + _ramps(counts)


def _outline(vertices: np.ndarray, height: int, width: int) -> np.ndarray:
    """The closed outline as 8-connected lines, each cut to the frame first and then drawn from left to right."""
    segments = np.concatenate([np.roll(vertices, 1, axis=0), vertices], axis=1)  # x1, y1, x2, y2
    limit = np.array([width, height, width, height])
    before, beyond = segments < 0, segments >= limit
    inside = ~(before | beyond).any(axis=1)
    hidden = ((before[:, :2] & before[:, 2:]) | (beyond[:, :2] & beyond[:, 2:])).any(axis=1)
    cut = [_clip(segment, (width, height)) for segment in segments[~inside & ~hidden].tolist()]  # host read: numpy
    visible = [segment for segment in cut if segment]
    lines = np.concatenate([segments[inside], np.array(visible, dtype=np.int64).reshape(-1, 4)])
    return _lines(lines, width)


def _clip(segment: list[int], size: tuple[int, int]) -> list[int] | None:
    """The part of a segment (x1, y1, x2, y2) inside a frame of `size` (width, height), or None.

    Rows are cut before columns and the first end before the second, each time along what the cut before it left; the
    steps are truncated towards zero in double precision. The order shows in the pixels.
    """
    start, end = segment[:2], segment[2:]
    for axis in (1, 0):
        other, last = 1 - axis, size[axis] - 1
        for point in (start, end):
            if 0 <= point[axis] <= last:
                continue
            border = 0 if point[axis] < 0 else last
            step = float(border - point[axis]) * (end[other] - start[other]) / (end[axis] - start[axis])
            point[other] += int(step)
            point[axis] = border
        if max(start[0], end[0]) < 0 or min(start[0], end[0]) >= size[0]:
            return None
    return start + end


def _lines(segments: np.ndarray, width: int) -> np.ndarray:
    """Bresenham's line for every row of `segments` [M,4] (x1, y1, x2, y2), all of them inside the frame."""
    backward = segments[:, :1] > segments[:, 2:3]
    segments = np.where(backward, segments[:, [2, 3, 0, 1]], segments)
    x, y = segments[:, 0], segments[:, 1]
    run, rise = segments[:, 2] - x, np.abs(segments[:, 3] - y)
    across, down = 1, np.where(segments[:, 3] < y, -width, width)  # what one step of x or y adds to the flat index
    steep = rise > run
    major, minor = np.where(steep, rise, run), np.where(steep, run, rise)
    major_step, minor_step = np.where(steep, down, across), np.where(steep, across, down)

    counts = major + 1
    k = _ramps(counts)
    per_line = np.stack([y * width + x, np.maximum(major, 1), minor, major_step, minor_step])
    origin, major, minor, major_step, minor_step = np.repeat(per_line, counts, axis=1)
    # The error term's closed form: a tie stays on the near pixel.
    return origin + k * major_step + (2 * minor * k + major - 1) // (2 * major) * minor_step


def _ramps(counts: np.ndarray) -> np.ndarray:
    """0..n-1 for each n of `counts`, one after another."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
