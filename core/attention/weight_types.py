"""How strongly each block of the U-Net takes the identity: the words and the curves that IPAdapter_plus made common."""


def _ease_in(t, kind):
    return 0.05 + 0.95 * (1 - t)


def _ease_out(t, kind):
    return 0.05 + 0.95 * t


def _ease_in_out(t, kind):
    return 0.05 + 0.95 * (1 - abs(2 * t - 1))


def _reverse_in_out(t, kind):
    return 0.05 + 0.95 * abs(2 * t - 1)


def _weak(*kinds):
    return lambda t, kind: 0.2 if kind in kinds else 1.0


# word -> (t in 0..1 along the U-Net in the order of execution, block kind) -> factor on the weight
_CURVES = {
    "linear": lambda t, kind: 1.0,
    "ease in": _ease_in,
    "ease out": _ease_out,
    "ease in-out": _ease_in_out,
    "reverse in-out": _reverse_in_out,
    "weak input": _weak("input"),
    "weak output": _weak("output"),
    "weak middle": _weak("middle"),
    "strong middle": _weak("input", "output"),
}

WEIGHT_TYPES = tuple(_CURVES)


def block_factors(weight_type: str, kinds: list[str]) -> list[float]:
    """The factor of each transformer in the order of execution; `kinds` are their blocks: input, middle or output.

    t is the transformer's index over their number, so the curves are those of IPAdapter_plus on SD1.5 and SDXL.
    """
    curve = _CURVES[weight_type]
    return [curve(index / len(kinds), kind) for index, kind in enumerate(kinds)]
