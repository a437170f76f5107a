"""One file per family of compositions, in the order of the table; importing them fills `cases.CASES`."""

from . import areas, tiles, windows, second_calls, couples  # noqa: F401, I001
