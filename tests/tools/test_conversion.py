"""The embedded weights are what scripts/convert_embedded.py makes of the published packages."""

import runpy

import photographs
from likeness.core.places import EMBEDDED

ROOT = photographs.ROOT


def test_conversion_gives_the_same_bytes(tmp_path):
    convert = runpy.run_path(str(ROOT / "scripts" / "convert_embedded.py"))
    package = ROOT / "build" / "face-api" / "package"
    contents = {
        "mtcnn": convert["mtcnn"](),
        "dlib_resnet34": convert["descriptor"](package),
        "landmarks68": convert["landmarks68"](package),
    }
    for name, content in contents.items():
        convert["write_safetensors"](tmp_path / name, *content)
        assert (tmp_path / name).read_bytes() == (EMBEDDED / f"{name}.safetensors").read_bytes()
