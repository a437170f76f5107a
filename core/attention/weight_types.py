"""How strongly each block of the U-Net takes the identity: the words and the curves that IPAdapter_plus made common.

Two of that pack's words are left out, because no factor per block says what they do. "style transfer precise" and
"composition precise" give the unwanted half of the blocks to the unconditional rows instead, so that guidance pushes
away from it: how hard then depends on CFG, and with CFG 1 nothing of it is left. "strong style and composition", which
that pack uses inside one node but does not offer, is "linear" with one picture. Where its "style and composition" gives
the composition's block 1 whatever the weight, the weight counts for both here.
"""

from collections.abc import Callable, Sequence


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
_CURVES: dict[str, Callable[[float, str], float]] = {
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

SD15, SDXL = 16, 11  # how many spatial transformers tell which model it is

_COMPOSITION = {SD15: {4: 0.25, 5: 1.0}, SDXL: {3: 1.0}}
_STYLE = {SD15: dict.fromkeys((*range(4), *range(9, 16)), 1.0), SDXL: {6: 1.0}}
# word -> number of transformers -> {transformer in the order of execution: factor}; the others get nothing
_TABLES: dict[str, dict[int, dict[int, float]]] = {
    "style transfer": _STYLE,
    "composition": _COMPOSITION,
    "strong style transfer": {
        count: dict.fromkeys(set(range(count)) - set(_COMPOSITION[count]), 1.0) for count in (SD15, SDXL)
    },
    "style and composition": {count: _STYLE[count] | _COMPOSITION[count] for count in (SD15, SDXL)},
}

WEIGHT_TYPES = (*_CURVES, *_TABLES)


def block_factors(weight_type: str, kinds: Sequence[str]) -> list[float]:
    """The factor of each transformer in the order of execution; `kinds` are their blocks: input, middle or output.

    t of a curve is the transformer's index over their number, so the curves are those of IPAdapter_plus on SD1.5 and
    SDXL. ValueError where a word has a table and the model is neither.
    """
    count = len(kinds)
    if weight_type in _CURVES:
        return [_CURVES[weight_type](index / count, kind) for index, kind in enumerate(kinds)]
    table = _TABLES[weight_type].get(count)
    if table is None:
        raise ValueError(
            f"The weight_type {weight_type!r} is known for SD1.5 ({SD15} transformers) and SDXL ({SDXL}), but the "
            f"connected model has {count}; choose linear or one of: {', '.join(list(_CURVES)[1:])}."
        )
    return [table.get(index, 0.0) for index in range(count)]
