"""Identities from several photographs: what each way to combine makes of real ones, and what the report says."""

import json

import pytest
import torch
from likeness.core.faces.identity import centralise
from node_cases import face, outputs
from torch.nn.functional import avg_pool2d, cosine_similarity, interpolate


def encode(pack, encoder, image, combine="mean"):
    inputs = {"face_encoder": encoder, "image": image, "face_index": "0", "on_no_face": "error"}
    return outputs(pack, "EncodeIdentity", combine=combine, **inputs)


def coarse(image, factor):
    """As if enlarged from a small picture."""
    small = avg_pool2d(image.movedim(-1, 1), factor)
    return interpolate(small, image.shape[1:3], mode="bicubic").clamp(0, 1).movedim(1, -1)


@pytest.fixture(scope="module")
def own():
    """Six different pictures of A; the last two are hardly recognisable."""
    plain = face("A")
    dim = (plain**1.3, plain * 0.8, coarse(plain, 2))
    return torch.cat([plain, *dim, coarse(plain, 8).flip(2), coarse(plain, 8) * 0.2])


def test_quality_trusts_the_good_photographs(pack, encoder, own):
    mean, quality = (encode(pack, encoder, own, combine)[0] for combine in ("mean", "quality"))
    truth, _ = encode(pack, encoder, face("A"))
    near, nearer = (cosine_similarity(made.vector, truth.vector, dim=0) for made in (mean, quality))
    assert nearer > near + 0.005
    assert quality.quality[:2].min() > 2 * quality.quality[4:].max()
    torch.testing.assert_close(mean.vector, mean.vectors.mean(0))


def test_the_report_says_what_is_weak(pack, encoder, own):
    first, *lines = encode(pack, encoder, own, "quality")[1].splitlines()
    assert "Identity from 6 of 6 faces in 6 photographs" in first and "Agreement among the faces: 0.9" in first
    assert ", good (" in lines[0] and "blurred (" in lines[4] and "blurred and dark or flat (" in lines[5]
    for part in ("quality", "size", "sharpness", "light", "frontality"):
        assert all(f"{part} 0." in line or f"{part} 1." in line for line in lines)


@pytest.mark.parametrize("combine", ["mean", "centralised"])
def test_the_stranger_is_named_though_nobody_is_left_out(pack, encoder, own, combine):
    image = torch.cat([own[:4], face("C"), own[:2].flip(2)])
    lines = encode(pack, encoder, image, combine)[1].splitlines()
    assert [line for line in lines if "looks like somebody else" in line] == [lines[5]]
    assert lines[5].startswith("Photograph 5:") and "set combine to robust" in lines[5]


def test_centralised_from_six_on(pack, encoder, own):
    identity, report = encode(pack, encoder, own, "centralised")
    torch.testing.assert_close(identity.vector, centralise.centralise(identity.vectors).mean(0))
    assert identity.combine == "centralised" and "plain mean" not in report
    few, report = encode(pack, encoder, own[:5], "centralised")
    torch.testing.assert_close(few.vector, few.vectors.mean(0))
    assert "Centralising needs 6 faces, so this is the plain mean." in report.splitlines()[0]


def test_judging_a_centralised_set_is_said_and_off_by_default(pack, encoder, own):
    identity, _ = encode(pack, encoder, face("A"))

    def judge(image, **more):
        inputs = {"face_encoder": encoder, "image": image, "threshold": 0.0, "on_no_face": "error"}
        *_, scores, _, report = outputs(pack, "IDSimilarity", **inputs, identity=identity, **more)
        return scores, json.loads(report)

    plain, report = judge(own)
    assert "centralised" not in report and all(image["percent"] is not None for image in report["images"])
    moved, report = judge(own, centralise=True)
    assert report["centralised"] is True and {image["percent"] for image in report["images"]} == {None}
    assert moved != plain and moved[1] > plain[1]
    few, report = judge(own[:5], centralise=True)
    assert report["centralised"] == "no: 5 faces, and 6 are needed" and few == pytest.approx(plain[:5], abs=1e-5)
