"""The table of foundation models: their names, and which sites are a whole model's."""

import pytest
from likeness.core.adapters import SDXL, base_name, base_of
from likeness.core.adapters.bases import BASES, FACELETS, SD15, is_whole
from tiny.files import SITE_WIDTHS


@pytest.mark.parametrize(("sites", "text", "name"), [(16, 768, "SD1.5"), (16, 1024, "SD2.1"), (70, 2048, "SDXL")])
def test_the_published_models_have_their_names(sites, text, name):
    assert base_name(sites, text) == base_name(0, text) == name
    assert base_name(sites + 1, text) == base_name(sites, text + 1) == "a model of its own kind"


def test_a_model_by_its_sites():
    assert (base_of(16), base_of(70), base_of(7), base_of(69)) == (SD15, SDXL, FACELETS, None)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_sites_are_whole_however_wide(base):
    assert is_whole(base.site_widths) and is_whole([width // 32 for width in base.site_widths])
    for count in range(len(base.site_widths)):
        assert not is_whole(base.site_widths[:count], [base]), count


def test_tiny_models_have_the_sites_of_the_big_ones():
    assert is_whole(SITE_WIDTHS["sd15"]) and is_whole(SITE_WIDTHS["sdxl"])
    assert tuple(SITE_WIDTHS["sd15_full"]) == SD15.site_widths
