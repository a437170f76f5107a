"""docs/adapters.md against what the adapters say of themselves, as they are published."""

import re
from functools import cache
from pathlib import Path

import pytest
from layouts import on_meta
from likeness.core.adapters import _FAMILIES, VISION, load_adapter
from likeness.core.weights import WeightFile
from tiny.ip_adapter import flat, ip_adapter

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/adapters.md").read_text()
COLUMNS = ("Base", "File and folder", "Face encoder", "Looks through", "Weight", "Nodes", "Example", "Licence")
# The published layouts, by the name of a file that has it.
PUBLISHED = {
    "ip-adapter-faceid_sd15.bin": "ipa_faceid_sd15",
    "ip-adapter-faceid_sdxl.bin": "ipa_faceid_sdxl",
    "ip-adapter-faceid-plus_sd15.bin": "ipa_faceid_plus_sd15",
    "ip-adapter-faceid-plusv2_sd15.bin": "ipa_faceid_plus_sd15",
    "ip-adapter-faceid-plusv2_sdxl.bin": "ipa_faceid_plus_sdxl",
    "ip-adapter-faceid-portrait-v11_sd15.bin": "ipa_faceid_portrait_sd15",
    "ip-adapter-faceid-portrait_sd15.bin": "ipa_faceid_portrait_sd15",
    "ip-adapter-faceid-portrait_sdxl.bin": "ipa_faceid_portrait_sdxl",
    "ip-adapter-faceid-portrait_sdxl_unnorm.bin": "ipa_faceid_portrait_sdxl_unnorm",
    "ip-adapter.bin": "instantid_ipadapter",
    "pulid_v1.bin": "pulid_sdxl_v1",
    "ip-adapter_pulid_sdxl_fp16.safetensors": "pulid_sdxl_v1_huchenlei",
    "pulid_v1.1.safetensors": "pulid_sdxl_v1_1",
    "photomaker-v1.bin": "photomaker_v1_id_encoder",
    "photomaker-v2.bin": "photomaker_v2_id_encoder",
    "ConsistentID-v1.bin": "consistentid_sd15",
    "ConsistentID_SDXL-v1.bin": "consistentid_sdxl",
    "wplus_adapter.bin": "wplus_sd15",
    "adapter_final.pt": "masterweaver_sd15",
    "adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt": "facechain_fact_sd15",
    "uniportrait-faceid_sd15.bin": "uniportrait_faceid_sd15",
}
# Plain IP-Adapters, on tiny widths: what they are for can't be read from these.
PLAIN = {
    "ip-adapter-plus-face_sd15.safetensors": "plus",
    "ip-adapter-full-face_sd15.safetensors": "full",
    "ip-adapter_sd15.safetensors": "basic",
}


def rows():
    """Title of an adapter -> {column: cell}."""
    header, _, *lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in [header, *lines]]
    assert tuple(cells[0][1:]) == COLUMNS
    return {title: dict(zip(COLUMNS, rest, strict=True)) for title, *rest in cells[1:]}


@cache
def adapter(file):
    """The adapter in a published file."""
    tensors = on_meta(PUBLISHED[file]) if file in PUBLISHED else flat(ip_adapter(PLAIN[file], "sd15"))
    return load_adapter(WeightFile(file, tensors, {}), device="meta" if file in PUBLISHED else None)


def test_every_family_has_its_rows():
    read = [adapter(file) for file in (*PUBLISHED, *PLAIN)]
    assert {type(one) for one in read} == {family for _, family in _FAMILIES}
    assert {one.spec.title for one in read} == rows().keys()


@pytest.mark.parametrize("file", [*PUBLISHED, *PLAIN])
def test_a_row_says_what_the_adapter_says(file):
    spec = adapter(file).spec
    row = rows()[spec.title]
    assert f"`{file}`" in row["File and folder"]
    assert spec.base in row["Base"].split(", ") or file in PLAIN
    if spec.face_dim:
        assert row["Face encoder"].split(":")[0] == spec.face_space
    else:
        assert row["Face encoder"].startswith("none")
    vision = spec.look.vision if spec.look else None
    if vision is not None:
        assert VISION[vision].title in row["Looks through"].split(" or ")
        assert VISION[vision].source.split(", on ")[0].removesuffix(" on Hugging Face") in PAGE.replace("\n  ", " ")
        assert f"`models/{VISION[vision].folder}`" in PAGE
    elif spec.look is None:
        assert row["Looks through"] == "-"
    assert ("with clip_vision" in row["Nodes"]) == (vision in ("clip-h", "clip-l", "clip-g"))
    assert row["Weight"] == f"{spec.default_weight:g}" and row["Licence"] == spec.licence
    assert ("IDTextEncode" in row["Nodes"]) == spec.in_prompt
    assert ("LandmarkControl" in row["Nodes"]) == spec.needs_control_net
    parsed = spec.family == "consistentid" or (spec.look is not None and spec.look.backdrop != "kept")
    assert ("a face parser" in row["File and folder"]) == parsed


def test_every_base_is_one_of_a_published_file():
    known = {(adapter(file).spec.title, adapter(file).spec.base) for file in PUBLISHED}
    for title, row in rows().items():
        if title not in {adapter(file).spec.title for file in PLAIN}:
            assert {(title, base) for base in row["Base"].split(", ")} <= known


def test_examples_are_all_there():
    examples = {path.stem for path in (ROOT / "workflows/api").glob("*.json")}
    named = set(re.findall(r"`([a-z0-9_]+)`", "".join(row["Example"] for row in rows().values())))
    facelets = {name for name in examples if name.startswith("facelets_")}
    assert named | {"arc2face", "arc2face_new_people"} == examples - facelets
