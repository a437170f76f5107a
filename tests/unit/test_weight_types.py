"""The words of weight_type against the popular pack's tables, written out by hand, and the page about them."""

import pytest
import weight_types_page
from likeness.core.adapters.weight_types import WEIGHT_TYPES, block_factors

SD15 = ["input"] * 6 + ["middle"] + ["output"] * 9
SDXL = ["input"] * 4 + ["middle"] + ["output"] * 6
CURVES = {
    "linear": [1, 1, 1, 1],
    "ease in": [1, 0.7625, 0.525, 0.2875],
    "ease out": [0.05, 0.2875, 0.525, 0.7625],
    "ease in-out": [0.05, 0.525, 1, 0.525],
    "reverse in-out": [1, 0.525, 0.05, 0.525],
    "weak input": [0.2, 0.2, 1, 1],
    "weak output": [1, 1, 1, 0.2],
    "weak middle": [1, 1, 0.2, 1],
    "strong middle": [0.2, 0.2, 1, 0.2],
}
TABLES = {
    "style transfer": ([1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
    "composition": ([0, 0, 0, 0, 0.25, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    "strong style transfer": ([1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]),
    "style and composition": (
        [1, 1, 1, 1, 0.25, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
        [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0],
    ),
}


def test_every_word_is_tested():
    assert (*CURVES, *TABLES) == WEIGHT_TYPES


@pytest.mark.parametrize("word", CURVES)
def test_curves_by_hand(word):
    """At transformer t of 4."""
    assert block_factors(word, ["input", "input", "middle", "output"]) == pytest.approx(CURVES[word])


@pytest.mark.parametrize("word", CURVES)
@pytest.mark.parametrize("kinds", [SD15, SDXL], ids=["SD1.5", "SDXL"])
def test_curves_as_the_popular_pack_writes_them(word, kinds):
    """Its own form: t and half the number of layers, instead of shares."""
    layers = len(kinds)
    by_index = {
        "ease in": lambda t: 0.05 + 0.95 * (1 - t / layers),
        "ease out": lambda t: 0.05 + 0.95 * (t / layers),
        "ease in-out": lambda t: 0.05 + 0.95 * (1 - abs(t - layers / 2) / (layers / 2)),
        "reverse in-out": lambda t: 0.05 + 0.95 * (abs(t - layers / 2) / (layers / 2)),
    }
    weak = {"weak input": ["input"], "weak middle": ["middle"], "weak output": ["output"]}
    weak |= {"strong middle": ["input", "output"], "linear": []}
    if word in by_index:
        expected = [by_index[word](t) for t in range(layers)]
    else:
        expected = [0.2 if kind in weak[word] else 1 for kind in kinds]
    assert block_factors(word, kinds) == pytest.approx(expected)


@pytest.mark.parametrize("word", TABLES)
def test_tables_by_hand(word):
    for kinds, expected in zip((SD15, SDXL), TABLES[word], strict=True):
        assert block_factors(word, kinds) == expected


@pytest.mark.parametrize("word", TABLES)
def test_a_table_needs_its_model(word):
    with pytest.raises(ValueError) as caught:
        block_factors(word, ["input", "middle", "output", "output"])
    assert str(caught.value) == (
        f"The weight_type {word!r} is known for SD1.5 (16 blocks), SD2.1 (16 blocks), SDXL (11 blocks), but the "
        "connected model has 4; choose one of: linear, ease in, ease out, ease in-out, reverse in-out, weak input, "
        "weak output, weak middle, strong middle."
    )


FLUX = ["double_block"] * 19 + ["single_block"] * 38


@pytest.mark.parametrize("word", [word for word in WEIGHT_TYPES if word.startswith(("weak ", "strong ", "style"))])
def test_what_is_about_a_unet_is_refused_for_a_transformer(word):
    with pytest.raises(ValueError, match="choose one of: linear, ease in, ease out, ease in-out, reverse in-out.$"):
        block_factors(word, FLUX)


def test_curves_along_a_transformer():
    assert block_factors("linear", FLUX) == [1.0] * 57
    fading = block_factors("ease in", FLUX)
    assert fading == sorted(fading, reverse=True) and fading[0] == 1.0


def test_the_page_says_what_the_code_does():
    """Otherwise run scripts/weight_types_page.py."""
    assert weight_types_page.PAGE.read_text(encoding="utf-8") == weight_types_page.page(WEIGHT_TYPES, block_factors)


def test_the_page_names_the_models_blocks():
    for blocks, kinds in zip(weight_types_page.BLOCKS.values(), (SD15, SDXL), strict=True):
        assert [name.split()[0] for name in blocks] == kinds
