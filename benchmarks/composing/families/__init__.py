"""One file per family of compositions, in the order of the table; importing them fills `cases.CASES`."""

from . import (  # noqa: F401, I001
    areas,
    tiles,
    windows,
    second_calls,
    couples,
    control_nets,
    conditioning_ops,
    ranges,
    splits,
    core_patches,
    upscalers,
    other_adapters,
)
