"""How strongly each block of a model takes the identity: the words and the curves that IPAdapter_plus made common.

Two of that pack's words are left out, because no factor per block says what they do. "style transfer precise" and
"composition precise" give the unwanted half of the blocks to the unconditional rows instead, so that guidance pushes
away from it: how hard then depends on CFG, and with CFG 1 nothing of it is left. "strong style and composition", which
that pack uses inside one node but does not offer, is "linear" with one picture. Where its "style and composition" gives
the composition's block 1 whatever the weight, the weight counts for both here.
"""

from collections.abc import Callable, Mapping, Sequence

from .bases import BASES, Base


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


# word -> (t in 0..1 along the model in the order of execution, block kind) -> factor on the weight
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
# word -> model -> {block in the order of execution: factor}; the other blocks get nothing
_TABLES: dict[str, Callable[[Base], Mapping[int, float]]] = {
    "style transfer": lambda base: base.style,
    "composition": lambda base: base.composition,
    "strong style transfer": lambda base: dict.fromkeys(set(range(base.blocks)) - set(base.composition), 1.0),
    "style and composition": lambda base: {**base.style, **base.composition},
}
_EXPLORED = tuple(base for base in BASES if base.style)

_BY_PART = tuple(word for word in _CURVES if word.startswith(("weak ", "strong ")))

WEIGHT_TYPES = (*_CURVES, *_TABLES)


def block_factors(weight_type: str, kinds: Sequence[str]) -> list[float]:
    """The factor of each block in the order of execution; `kinds` are their parts: a U-Net's input, middle or output.

    t of a curve is the block's index over their number, so the curves are those of IPAdapter_plus on SD1.5 and SDXL.
    ValueError where a word goes by what blocks do, and nobody knows it of a model with so many.
    """
    count = len(kinds)
    is_unet = bool({"input", "middle", "output"} & set(kinds))
    others = ", ".join(word for word in _CURVES if is_unet or word not in _BY_PART)
    if weight_type in _BY_PART and not is_unet:
        raise ValueError(
            f"The weight_type {weight_type!r} is about the parts of a U-Net, which the connected model is not; choose "
            f"one of: {others}."
        )
    if weight_type in _CURVES:
        return [_CURVES[weight_type](index / count, kind) for index, kind in enumerate(kinds)]
    base = next((base for base in _EXPLORED if base.blocks == count), None)
    if base is None:
        known = ", ".join(f"{base.name} ({base.blocks} blocks)" for base in _EXPLORED)
        raise ValueError(
            f"The weight_type {weight_type!r} is known for {known}, but the connected model has {count}; "
            f"choose one of: {others}."
        )
    table = _TABLES[weight_type](base)
    return [table.get(index, 0.0) for index in range(count)]
