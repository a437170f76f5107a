"""Single nodes inside real graphs: any Python value on an input, pictures with and without faces, what artists read."""

import photographs
import pytest
import torch
from comfy_process import ComfyError
from PIL import Image


class AnyType(str):
    def __ne__(self, other):
        return False


class Wired(str):
    """A word that comes over a wire instead of from a widget."""


class WiredNumber(float):
    """A number that does."""


class Given:
    """A node that hands out a value that was put into `values`, or a tuple of up to three."""

    values: dict = {}
    RETURN_TYPES, FUNCTION, CATEGORY = (AnyType("*"),) * 3, "give", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"key": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, key):
        return float("nan")

    def give(self, key):
        value = self.values[key]
        return value if isinstance(value, tuple) else (value,) * 3


class Sink:
    """An output node that takes anything, and counts how often it ran."""

    runs = 0
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "take", "test", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (AnyType("*"), {})}}

    def take(self, value):
        Sink.runs += 1
        return {}


def run_node(pack, class_type, **inputs):
    """Run one node as ComfyUI does: words and numbers as they are, everything else over a wire. Returns its Result."""
    prompt, plain = {}, {}
    Given.values = {}
    for name, value in inputs.items():
        if isinstance(value, str | int | float) and not isinstance(value, Wired | WiredNumber):
            plain[name] = value
        else:
            Given.values[name] = value
            prompt[f"given {name}"] = {"class_type": "Given", "inputs": {"key": name}}
            plain[name] = [f"given {name}", 0]
    prompt["node"] = {"class_type": class_type, "inputs": plain}
    prompt["sink"] = {"class_type": "Sink", "inputs": {"value": ["node", 0]}}
    pack.nodes["Given"], pack.nodes["Sink"] = Given, Sink
    try:
        return pack.run_graph(prompt)
    finally:
        del pack.nodes["Given"], pack.nodes["Sink"]


def outputs(pack, class_type, **inputs):
    """The values on a node's outputs."""
    return run_node(pack, class_type, **inputs).values("node")


def sentence(pack, class_type, **inputs):
    """What the artist reads when a node refuses its inputs: one sentence, raised by the node itself."""
    with pytest.raises(ComfyError) as caught:
        outputs(pack, class_type, **inputs)
    line, *trace = str(caught.value).splitlines()
    if "Prompt outputs failed validation" in line:
        line = trace[0]
    head, _, text = line.partition(": ")
    assert head == f"{class_type} (node)", str(caught.value)
    assert text.endswith(".") and (text[0].isupper() or "." in text.split(" ")[0]), text  # a file's name may come first
    return text


def face(person="A", size=256) -> torch.Tensor:
    """One person of the photograph t1 as an IMAGE [1,size,size,3]."""
    [box] = [seen["box"] for seen in photographs.people()["t1"]["faces"] if seen["person"] == person]
    x, y, half = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2, 110
    cut = photographs.picture("t1").crop((x - half, y - half, x + half, y + half))
    return photographs.as_image(cut.resize((size, size), Image.Resampling.BICUBIC))


def blank(size=256) -> torch.Tensor:
    """A grey picture without anybody."""
    return torch.full((1, size, size, 3), 0.5)
