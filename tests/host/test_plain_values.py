"""What ComfyUI lets pass: plain values on inputs without a widget, and any word that comes over a wire."""

import host_cases
import pytest
import torch
from comfy_process import ComfyError
from likeness.core.host.prompts import landmarks
from node_cases import Wired, WiredNumber, face, outputs

SOCKETS = ("IMAGE", "MASK", "MODEL", "CLIP", "VAE", "CONTROL_NET", "CONDITIONING", "LATENT")


@pytest.mark.parametrize("value", ["a", 5, True, float("nan"), {"a": 1}, [["a"]]])
def test_a_plain_value_where_a_wire_belongs(pack, value):
    for name, node in pack.own_nodes().items():
        schema = node.define_schema()
        for one in schema.inputs:
            if one.io_type.startswith("LIKENESS_") or one.io_type in SOCKETS:
                with pytest.raises(ValueError) as caught:
                    node.execute(**{one.id: [value] if schema.is_input_list else value})
                expected = f"{one.id} is {value!r}, but must come from a node that gives {one.io_type}; connect one."
                assert str(caught.value) == expected, name


def test_nothing_on_an_input_that_needs_something(pack):
    with pytest.raises(
        ValueError, match="^identity is None, but must come from a node that gives LIKENESS_IDENTITY; co"
    ):
        pack.nodes["SaveIdentity"].execute(identity=None, filename_prefix="x")


def test_a_word_over_a_wire_that_is_not_offered(pack, encoder, applied):
    with pytest.raises(
        ComfyError, match="weight_type is 'steep', but must be one of: linear, .*; choose one of these."
    ):
        outputs(pack, "ApplyIDAdapter", **{**applied, "weight_type": Wired("steep")})
    inputs = {"face_encoder": encoder, "image": face(), "order": Wired("x" * 5000), "index": "all"}
    with pytest.raises(ComfyError) as caught:
        outputs(pack, "DetectFaces", **inputs, on_no_face="error")
    line = str(caught.value).splitlines()[0]
    assert "order is 'xxx" in line and "xx..., but must be one of: largest" in line and len(line) < 300
    with pytest.raises(
        ComfyError, match=r"one of: largest.*; choose one of these\. on_no_face is 'no', but must be one"
    ):
        outputs(pack, "DetectFaces", **inputs, on_no_face=Wired("no"))


@pytest.mark.parametrize("shape", [(), (8,), (1, 4, 8), (1, 4, 0, 8), (0, 4, 8, 8)])
def test_a_latent_without_a_size(shape):
    with pytest.raises(ValueError, match=r"^A LATENT has the shape \[batch, channels, height, width\], but"):
        landmarks.canvas_size(torch.zeros(1, 8, 8, 3), {"samples": torch.zeros(shape)})


def test_numbers_over_a_wire(pack, applied):
    """A hair beyond a limit is what another node's arithmetic does; more is refused."""
    person = host_cases.identity(1)
    kept = outputs(pack, "ApplyIDAdapter", **{**applied, "end_at": WiredNumber(1.0000001)}, identity=person)
    assert len(host_cases.attn2(kept[0])) == 16
    for number in (1.01, float("nan"), float("inf")):
        with pytest.raises(ComfyError, match="end_at is .*, but must be a number from 0.0 to 1.0; correct it."):
            outputs(pack, "ApplyIDAdapter", **{**applied, "end_at": WiredNumber(number)}, identity=person)
